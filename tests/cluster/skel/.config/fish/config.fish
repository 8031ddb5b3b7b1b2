# config.fish
