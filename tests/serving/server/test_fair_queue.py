"""Clients take turns, and one client cannot keep the others out."""

from hypothesis import given
from hypothesis import strategies as st

from paddleinterest.serving.server.fair_queue import FairQueue


def test_clients_take_turns():
    queue = FairQueue(100)
    for k in range(50):
        queue.push("greedy", ("greedy", k))
    queue.push("small", ("small", 0))
    queue.push("other", ("other", 0))
    first = [queue.pop() for _ in range(4)]
    assert [client for client, _ in first] == ["greedy", "small", "other", "greedy"]
    assert [k for client, k in first if client == "greedy"] == [0, 1]


def test_a_full_queue_has_room_for_a_client_with_little():
    queue = FairQueue(4)
    for k in range(4):
        assert queue.push("greedy", k) is None
    assert queue.push("greedy", 4) == 4
    assert queue.push("small", 5) == 3  # the newest of the greedy one
    assert queue.push("small", 6) == 2
    assert queue.push("small", 7) == 7  # two and two are fair
    assert [queue.pop() for _ in range(5)] == [0, 5, 1, 6, None]


def test_no_queue_at_all():
    queue = FairQueue(0)
    assert queue.push("a", 1) == 1 and queue.pop() is None and len(queue) == 0


@given(
    st.integers(0, 6),
    st.lists(
        st.tuples(st.sampled_from(["push", "pop", "remove"]), st.sampled_from("abc")), max_size=60
    ),
)
def test_whatever_happens_the_books_balance(longest, steps):
    queue = FairQueue(longest)
    inside = []  # (client, entry), in the order they came
    for number, (step, client) in enumerate(steps):
        if step == "push":
            left_out = queue.push(client, number)
            inside.append((client, number))
            if left_out is not None:
                inside = [pair for pair in inside if pair[1] != left_out]
        elif step == "pop":
            got = queue.pop()
            assert (got is None) == (not inside)
            if got is not None:
                owner = next(c for c, n in inside if n == got)
                assert got == min(
                    n for c, n in inside if c == owner
                )  # a client's own come in order
                inside = [pair for pair in inside if pair[1] != got]
        elif inside:
            victim = inside[len(inside) // 2]
            assert queue.remove(*victim)
            assert not queue.remove(*victim)
            inside.remove(victim)
        assert len(queue) == len(inside) <= longest
