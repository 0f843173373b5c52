"""What a person can put right."""


class Refusal(Exception):
    """The base of every error whose text is for people: it names the thing, the value and the remedy. Commands print it
    as one line and end with 2; beside it each is of the built-in kind that callers in Python expect."""
