"""What runs around copying and updating, for those who ask for it: the command `passerelle`."""
