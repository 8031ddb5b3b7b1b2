function lab_prompt --description 'The session here that ends first and its hours and minutes; $status stays'
    set --local kept $status
    set --local folder (string replace --regex '/$' '' -- $PWD)
    while not test -f "$folder/lab" -a -f "$folder/settings.yml" -a -d "$folder/lib/laptop"
        test -n "$folder"; or return $kept
        set folder (string replace --regex '/[^/]*$' '' -- $folder)
    end
    # what is somebody else's is not read: the folder may be anybody's
    set --local file $folder/.lab/sessions
    test -f $file -a -O $file; or return $kept
    set --local now (command date +%s)
    set --local shortest
    set --local shown
    while read --local --delimiter \t name end
        string match --quiet --regex '^[A-Za-z0-9._-]+$' -- $name
        and string match --quiet --regex '^[1-9][0-9]{0,10}$' -- $end
        or continue
        set --local left (math $end - $now)
        if test $left -gt 0; and test -z "$shortest" -o $left -lt "$shortest"
            set shortest $left
            set shown (printf '%s %d:%02d' $name (math --scale=0 $left / 3600) (math --scale=0 $left / 60 % 60))
        end
    end <$file
    test -z "$shown"; or echo $shown
    return $kept
end
