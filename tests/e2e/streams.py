"""Clients that ask for one stream after another while something else happens to the deployment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from tests.e2e.user import User


@contextmanager
def streams_all_the_while(user: User) -> Iterator[None]:
    """Two clients, from now to the block's end; none of their streams may fail or be empty."""
    over = Event()

    def ask() -> list[str]:
        answers = []
        while not over.is_set():
            answers.append(user.stream("A node", 40))
            over.wait(2.0)
        return answers

    with ThreadPoolExecutor(2) as clients:
        asked = [clients.submit(ask) for _ in range(2)]
        try:
            yield
        finally:
            over.set()
        answers = [answer for each in asked for answer in each.result(timeout=180)]
    assert len(answers) >= 4
    assert all(answers), "an answer is the text of a stream that ended well"
