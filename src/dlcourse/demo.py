"""python -m dlcourse.demo run=DIR [port=8000] [open=true] [plugins=[MODULE]]

A page to play with the best checkpoint of a run (of a sweep's directory: its best run): draw a digit or a letter, drop
a photo or, with a run on letters, a page. It shows the probabilities of the classes or the reconstruction, what the
first layer gives, and where the picture's code lies among those of the training images. On this machine alone, at
http://127.0.0.1:PORT/ or the next port that is free, until Ctrl-C; what is drawn or dropped is stored nowhere.
open=true opens it in the browser.
"""

import logging
import webbrowser

from dlcourse import runs
from dlcourse.config import plugins
from dlcourse.core import cli
from dlcourse.core.errors import InputError

log = logging.getLogger(__name__)


def main(argv: list[str]) -> None:
    given = cli.parse_arguments(argv, __doc__, ("run",), ("port", "plugins"), choices={"open": cli.BOOLEAN})
    port = given.get("port", "8000")
    if not (port.isdecimal() and 0 <= int(port) < 65536):
        raise InputError(f"port={port}: it is a number up to 65535")
    plugins.grant(given.get("plugins"))
    run = runs.find_run(given["run"])
    from dlcourse.deploy.playground import Playground
    from dlcourse.deploy.server import open_server

    playground = Playground(run)
    if playground.why:
        log.warning("%s", playground.why)
    with open_server(playground, int(port)) as server:
        log.info("%s: %s (Ctrl-C ends it)", playground.about["title"], server.address)
        if given["open"] == "true":
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log.info("ended")


if __name__ == "__main__":
    cli.run_command(main)
