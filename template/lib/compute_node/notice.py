"""What a session has to say in JupyterLab itself: an event that its extension there shows (jupyter/labextensions)."""

SCHEMA = {
    "$id": "urn:passerelle:notice",
    "version": "1",
    "title": "A notice of the session",
    "personal-data": False,
    "type": "object",
    "properties": {"name": {"type": "string"}, "message": {"type": "string"}, "save": {"type": "boolean"}},
    "required": ["name", "message"],
}
"""JupyterLab cuts a message at 140 letters."""
TO_SAVE = 5
"""Seconds; in a browser, what was not saved was on disk 2.5 s after the notice."""


def event(name, message, save=False):
    """Return what /api/events takes.

    name: the notice of that name that is shown gives way
    message: an empty one shows nothing in its place
    save: whether JupyterLab saves what is open
    """
    data = {"name": name, "message": message, "save": save}
    return {"schema_id": SCHEMA["$id"], "version": SCHEMA["version"], "data": data}


def prepare(server):
    """Have the server know such events, and return what sends one: notify(name, message, save=False)."""
    # since jupyter_server 2
    logger = getattr(server, "event_logger", None)
    if not logger:
        return lambda *_, **__: None
    logger.register_event_schema(SCHEMA)

    def notify(name, message, save=False):
        what = event(name, message, save)
        logger.emit(schema_id=what["schema_id"], data=what["data"])

    return notify
