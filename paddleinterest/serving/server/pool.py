"""Jobs and the scorers that do them: a bounded queue, deadlines, and reload without a lost job."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from paddleinterest.core.errors import InputError
from paddleinterest.core.log import say
from paddleinterest.serving.server import frames
from paddleinterest.serving.server.fair_queue import FairQueue
from paddleinterest.serving.server.frames import Head
from paddleinterest.serving.server.generation import Generation, Worker
from paddleinterest.serving.server.limits import Limits
from paddleinterest.serving.server.loader import Options

WATCH = 0.05  # seconds after which the server looks whether the client is still there
LOOK = 0.25  # seconds between two looks at the scorers
GRACE = 5.0  # seconds after the deadline at which a scorer that still works is killed
LONGEST_PAUSE = 30.0  # seconds between two tries to open a bundle whose loader has ended
TRIES = 2  # scorers that a job may be given to
USUAL = 0.01  # seconds of a job, until some were done

Gone = Callable[[], Awaitable[None]]  # returns when the client has gone


class Unavailable(Exception):
    """A job is not done. The client may try again.

    Attributes:
        reason: a word for the metrics.
        retry_after: seconds.
    """

    def __init__(self, reason: str, words: str, retry_after: int = 1) -> None:
        super().__init__(words)
        self.reason = reason
        self.retry_after = retry_after


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Job:
    """A request that a client waits for.

    Args:
        head, body: for the scorer.
        client: whose turn it takes.
        future: gets the scorer's reply.
    """

    def __init__(self, head: Head, body: bytes, client: str, future: "asyncio.Future[Any]") -> None:
        self.head = head
        self.body = body
        self.client = client
        self.future = future
        self.started = 0.0  # when a scorer took it, by time.monotonic
        self.tries = 0

    def fail(self, error: Exception) -> None:
        """Let the client know that nothing comes."""
        if not self.future.done():
            self.future.set_exception(error)


class Pool:
    """The scorers of the current bundle, and of older ones that finish their last job.

    Args:
        options: how to open the bundle.
        limits: of queue and time.

    Attributes:
        queue: jobs that wait.
        draining: no new jobs are taken.
        reloads: how many times a bundle was opened, {"done": n, "refused": n}.
    """

    def __init__(self, options: Options, limits: Limits) -> None:
        self.options = options
        self.limits = limits
        self.queue: FairQueue[Job] = FairQueue(limits.max_queue)
        self.draining = False
        self.reloads = {"done": 0, "refused": 0}
        self.restarts = 0
        self._idle: list[Worker] = []
        self._current: Generation | None = None
        self._retired: set[Generation] = set()
        self._loading: Generation | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._usual = USUAL
        self._changed = asyncio.Lock()

    @property
    def facts(self) -> dict[str, Any]:
        """The loader's facts of the current bundle."""
        return self._current.facts if self._current else {}

    @property
    def busy(self) -> int:
        """Number of scorers that work."""
        return sum(worker.job is not None for worker in self._workers())

    def _workers(self) -> list[Worker]:
        generations = [*self._retired, *([self._current] if self._current else [])]
        return [worker for generation in generations for worker in generation.workers]

    # the life of a bundle

    async def start(self) -> None:
        """Open the bundle.

        Raises:
            InputError: it cannot be opened.
        """
        await self._open()
        self._spawn(self._watch())

    async def reload(self) -> dict[str, Any]:
        """Open the bundle's directory anew; requests go to it as soon as it is open.

        Returns:
            The facts of the new bundle.

        Raises:
            InputError: it cannot be opened; the old one stays in service.
        """
        async with self._changed:
            try:
                await self._open()
            except InputError:
                self.reloads["refused"] += 1
                raise
            self.reloads["done"] += 1
            return self.facts

    async def _open(self) -> None:
        made = Generation(self.options, self.limits, self._on_worker, self._on_lost)
        self._loading = made
        try:
            await made.opened()
        except BaseException:
            made.close()
            self._spawn(made.ended())
            raise
        finally:
            self._loading = None
        old = self._current
        self._current = made
        if old is not None:
            self._retire(old)
        self._idle = [worker for worker in made.workers if worker.job is None]
        self._dispatch()

    def _retire(self, generation: Generation) -> None:
        """No more jobs for a generation; it ends with its last one."""
        self._retired.add(generation)
        for worker in list(generation.workers):
            if worker.job is None:
                self._let_go(worker)
        self._end_if_done(generation)

    def _let_go(self, worker: Worker) -> None:
        worker.generation.workers.discard(worker)
        worker.close()

    def _end_if_done(self, generation: Generation) -> None:
        if generation in self._retired and not generation.workers:
            self._retired.discard(generation)
            self._spawn(generation.ended())

    def _on_worker(self, worker: Worker) -> None:
        worker.task = self._spawn(self._replies(worker))
        if worker.generation is self._current:
            self._idle.append(worker)
            self._dispatch()

    def _on_lost(self, generation: Generation) -> None:
        """The loader of the current bundle has ended: open the bundle again."""
        if generation is self._current and not self.draining:
            say("the process that holds the bundle has ended; it is opened again")
            self.restarts += 1
            self._spawn(self._open_again())

    async def _open_again(self) -> None:
        pause = 0.1
        while not self.draining:
            try:
                async with self._changed:
                    await self._open()
                return
            except InputError as e:
                say(f"error: {e}")
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # the life of a job

    async def submit(self, head: Head, body: bytes, client: str, gone: Gone) -> tuple[Head, bytes]:
        """Have a job done.

        Args:
            head, body: for the scorer.
            client: who asks; clients take turns.
            gone: returns when the client has gone.

        Returns:
            The scorer's reply.

        Raises:
            Unavailable: the queue is full, the deadline has passed, or the server ends.
            ClientGone: nobody waits for it any more.
        """
        if self.draining:
            raise Unavailable(
                "draining", "the server is about to end; send the request to another server"
            )
        loop = asyncio.get_running_loop()
        job = Job(head, body, client, loop.create_future())
        self._enqueue(job)
        late = loop.call_later(self.limits.deadline, self._too_late, job)
        watch = loop.call_later(WATCH, self._watch_client, job, gone)
        try:
            return await job.future
        finally:
            late.cancel()
            watch.cancel()

    def _enqueue(self, job: Job) -> None:
        if self._idle and not len(self.queue):
            self._give(self._idle.pop(), job)
            return
        left_out = self.queue.push(job.client, job)
        if left_out is not None:
            words = f"{len(self.queue):,} requests wait already; try again"
            left_out.fail(Unavailable("queue full", words, self._retry_after()))

    def _retry_after(self) -> int:
        """Seconds after which the queue of now is done, if nobody else asks."""
        workers = max(1, len(self._workers()))
        return max(1, math.ceil(len(self.queue) * self._usual / workers))

    def _too_late(self, job: Job) -> None:
        self.queue.remove(job.client, job)
        words = f"no answer within {self.limits.deadline:g} seconds; try again"
        job.fail(Unavailable("deadline", words, self._retry_after()))

    def _watch_client(self, job: Job, gone: Gone) -> None:
        async def watch() -> None:
            await gone()
            self.queue.remove(job.client, job)
            job.fail(ClientGone())

        task = self._spawn(watch())
        job.future.add_done_callback(lambda _: task.cancel())

    def _give(self, worker: Worker, job: Job) -> None:
        worker.job = job
        job.tries += 1
        job.started = time.monotonic()
        worker.send(job.head, job.body)

    def _dispatch(self) -> None:
        while self._idle and len(self.queue):
            job = self.queue.pop()
            if job is not None and not job.future.done():
                self._give(self._idle.pop(), job)

    async def _replies(self, worker: Worker) -> None:
        """Hand on what a scorer replies, and give it the next job."""
        try:
            while True:
                head, body = await frames.read(worker.reader)
                job = worker.job
                worker.job = None
                took = time.monotonic() - job.started
                self._usual += 0.05 * (took - self._usual)
                if not job.future.done():
                    job.future.set_result((head, body))
                if worker.generation is not self._current:
                    self._let_go(worker)
                    self._end_if_done(worker.generation)
                    return
                self._idle.append(worker)
                self._dispatch()
        except (asyncio.IncompleteReadError, ConnectionError):
            self._ended(worker)

    def _ended(self, worker: Worker) -> None:
        """A scorer has ended, killed or by a fault of the engine: start a new one."""
        generation = worker.generation
        self._let_go(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.job is not None:
            self._again(worker.job)
        if generation is self._current and not generation.closed and not self.draining:
            say(f"scorer {worker.pid} has ended; a new one starts")
            self.restarts += 1
            asyncio.get_running_loop().call_later(0.1, generation.fork, 1)
        self._end_if_done(generation)

    def _again(self, job: Job) -> None:
        """Give a job whose scorer has ended to a second scorer, once: the job may be the cause."""
        if job.future.done():
            return
        if job.tries < TRIES and job.head["kind"] != "events":
            self._enqueue(job)
        else:
            words = "the process that scored this request has ended; try again"
            job.fail(Unavailable("scorer ended", words))

    async def _watch(self) -> None:
        """Kill scorers that hang."""
        while True:
            await asyncio.sleep(LOOK)
            for worker in self._workers():
                if worker.job is not None and self._age(worker) > self.limits.deadline + GRACE:
                    say(f"scorer {worker.pid} has worked for {self._age(worker):.0f} s; killed")
                    worker.generation.kill(worker)

    @staticmethod
    def _age(worker: Worker) -> float:
        return time.monotonic() - worker.job.started

    def stuck(self) -> str:
        """Why no request can be answered now; "" if one can."""
        if self.draining:
            return "draining"
        workers = list(self._current.workers) if self._current else []
        if not workers:
            return "no process scores"
        deadline = self.limits.deadline
        if all(worker.job is not None and self._age(worker) > deadline for worker in workers):
            return "every process that scores has worked on one request beyond the deadline"
        return ""

    # the end

    async def drain(self, seconds: float) -> None:
        """Take no new jobs; wait until those in progress are done, at most so long."""
        self.draining = True
        until = time.monotonic() + seconds
        while (len(self.queue) or self.busy) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        error = Unavailable(
            "draining", "the server is about to end; send the request to another server"
        )
        while (job := self.queue.pop()) is not None:
            job.fail(error)
        for worker in self._workers():
            if worker.job is not None:
                worker.job.fail(error)

    async def close(self) -> None:
        """End every process."""
        self.draining = True
        generations = [*self._retired]
        generations += [g for g in (self._current, self._loading) if g is not None]
        await asyncio.gather(*(generation.ended() for generation in generations))
        for task in list(self._tasks):
            task.cancel()
