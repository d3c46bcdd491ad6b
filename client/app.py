"""The site's Flower ClientApp: a thin adapter from messages to `LocalSite.answer` and through egress."""

from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedescc.client.answers.dispatch import HANDLERS, answer
from fedescc.client.egress import error_reply, release
from fedescc.client.intake.intake import load_cohort
from fedescc.client.local_site import LocalSite
from fedescc.client.site import read_site
from fedescc.common.errors import Refusal
from fedescc.common.study import read_study
from fedescc.common.wire import unpack_request

_NO_ACTION = "default"  # what Flower calls the action of a message type that names none

OpenSite = Callable[[Context], LocalSite]


def make_client_app(open_site: OpenSite) -> ClientApp:
    """A ClientApp that serves the site which ``open_site`` finds for a context."""
    app = ClientApp()

    def serve(message: Message, context: Context) -> Message:
        try:
            request = unpack_request(message.content)
            site = open_site(context)
            reply = answer(site, message.metadata.message_type, request)
            return release(reply, message, request, site.policy.min_class_count)
        except Refusal as refusal:
            return error_reply(refusal.code, message)
        except Exception as error:  # noqa: BLE001 - an exception's text may quote a patient: only its kind leaves
            return error_reply(f"site-error:{type(error).__name__.lower()}", message)

    register = {"train": app.train, "evaluate": app.evaluate, "query": app.query}
    for message_type in HANDLERS:
        category, _, action = message_type.partition(".")
        register[category](action or _NO_ACTION)(serve)
    return app


def site_opener() -> OpenSite:
    """Opens the site named by ``site-file`` and ``study`` of the node's own configuration, once per process."""
    opened: dict[tuple[str, str], LocalSite] = {}

    def open_site(context: Context) -> LocalSite:
        key = (str(context.node_config["site-file"]), str(context.node_config["study"]))
        if key not in opened:
            site, study = read_site(Path(key[0])), read_study(key[1])
            cohort = load_cohort(site, study)
            opened[key] = LocalSite(site.settings.site, study, site.settings.policy, cohort, site.work)
        return opened[key]

    return open_site


app = make_client_app(site_opener())
