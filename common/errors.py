"""The one exception a user is meant to see, and its one-line form."""


class Refusal(Exception):
    """An input that fedescc will not accept.

    The command line prints it as one line and exits with code 1; nothing else is lost.

    Args:
        code: short stable identifier, safe to send or log (never patient data); in kebab-case, or in snake_case where
            it also is a reason in the JSON of ``fedescc-client inspect``.
        what: the value at fault and why it is refused; may name local files, so it stays local.
        todo: what the user should do next.

    """

    def __init__(self, code: str, what: str, todo: str) -> None:
        self.code = code
        self.what = what
        self.todo = todo
        super().__init__(f"{what} [{code}]; {todo}")
