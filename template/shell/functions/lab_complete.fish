function lab_complete --description 'What can stand at the end of a command line of lab'
    set --local word (commandline --current-token --cut-at-cursor)
    # in a quote that is still open
    set word (string unescape -- "$word"; or string unescape -- "$word\""; or string unescape -- "$word'")
    $LAB_SHELL/complete.sh (commandline --tokenize --current-process --cut-at-cursor) "$word" 2>/dev/null
end
