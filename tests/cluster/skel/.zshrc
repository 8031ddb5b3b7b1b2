# .zshrc: there so that zsh does not ask a new user how to make one
