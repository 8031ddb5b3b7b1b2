"""What a session has to say in JupyterLab itself: an event that its extension there shows (jupyter/labextensions)."""

SCHEMA = {
    "$id": "urn:passerelle:notice",
    "version": "1",
    "title": "A notice of the session",
    "personal-data": False,
    "type": "object",
    "properties": {"message": {"type": "string"}, "save": {"type": "boolean"}},
    "required": ["message"],
}
"""JupyterLab cuts a message at 140 letters."""


def event(message, save):
    """Return what /api/events takes; save: whether JupyterLab saves what is open."""
    return {"schema_id": SCHEMA["$id"], "version": SCHEMA["version"], "data": {"message": message, "save": save}}
