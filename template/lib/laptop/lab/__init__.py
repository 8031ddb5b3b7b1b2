"""The Python side of a Passerelle folder."""
