complete --command lab --no-files --keep-order --arguments '(lab_complete)'
