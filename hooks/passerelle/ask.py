"""What is asked before Copier asks, in Copier's own manner (questionary)."""

import sys

import questionary

from .texts import Trouble, message

MARK = "🎤"
"""What Copier puts before a question."""


def somebody():
    """Return whether there is somebody to be asked."""
    return bool(sys.stdin) and sys.stdin.isatty()


def ask(question):
    """Return the answer; raises KeyboardInterrupt for a Ctrl-C, Trouble where nobody is there."""
    try:
        return question.unsafe_ask()
    except EOFError:
        raise Trouble("nobody_to_ask") from None


def choose(words, choices, default=None):
    """Return the value that was chosen; choices: {title: value}."""
    listed = [questionary.Choice(title, value) for title, value in choices.items()]
    return ask(questionary.select(words, listed, default, qmark=MARK, instruction=message("arrow_keys")))


def type_in(words, default="", valid=lambda answer: True):
    """Return what was typed; valid returns True, or what is wrong."""
    return ask(questionary.text(words, default, validate=lambda answer: valid(answer.strip()), qmark=MARK)).strip()
