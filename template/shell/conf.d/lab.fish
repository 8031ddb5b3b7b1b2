# lab in fish: the command in every folder of a project, completion, and lab_prompt. config.fish sources this, or fish does where
# it is in conf.d; `lab_unload` takes all of it back.

# sourced once more, perhaps of another folder, it begins anew
functions --query lab_unload; and lab_unload

# fisher copies this file, and knows from where
for folder in (string replace --regex '/conf\.d/[^/]*$' '' -- (builtin realpath (status filename))) $_fisher_plugins
    if test -x $folder/bin/lab
        set --global LAB_SHELL $folder
        break
    end
end

# global, for fish_add_path would write a variable that every later fish has
contains -- $LAB_SHELL/bin $PATH; or set --export --global PATH $LAB_SHELL/bin $PATH
# not by fish_function_path: fish finds no function there that was erased, as lab_unload does
for file in $LAB_SHELL/functions/*.fish
    source $file
end
contains -- $LAB_SHELL/completions $fish_complete_path; or set --global --append fish_complete_path $LAB_SHELL/completions

for script in $LAB_SHELL/../*.sh
    complete --command (string replace --regex '.*/' '' -- $script) --no-files --keep-order --arguments '(lab_complete)'
end

# the event is fisher's
function lab_unload --on-event lab_uninstall --description 'Take lab out of this shell'
    for script in $LAB_SHELL/../*.sh
        complete --erase --command (string replace --regex '.*/' '' -- $script)
    end
    complete --erase --command lab
    set --local kept
    for name in PATH fish_complete_path
        set kept
        for folder in $$name
            contains -- $folder $LAB_SHELL/bin $LAB_SHELL/completions; or set --append kept $folder
        end
        set --global $name $kept
    end
    functions --erase lab_complete lab_prompt lab_unload
    set --erase --global LAB_SHELL
end
