"""Faults around the gateway: whoever was cut off asks again under the same id, and all answers must agree."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter

import msgspec

from access.admin import create
from bench.environment import wait_until
from bench.faults.deployment import PATIENCE_S, Deployment, ensure
from stack.gateway import GatewayProcess, gateway_settings
from streams.history.run_output import Difference
from vedette.client import Answer, AsyncGatewayClient
from vedette.clock import SystemClock
from vedette.events import Decision, Transaction
from vedette.topics import Name

_REQUESTS = 100
_DEADLINE_MS = 2_000
_ANSWER_S = 15.0


class GatewayFleet:
    """Gateways in front of a deployment, and all answers that they have given.

    Args:
        run: The deployment.
        gateways: Number of gateways.
    """

    def __init__(self, run: Deployment, gateways: int = 1) -> None:
        self._run = run
        base = gateway_settings(run.settings, run.directory)
        self._key = create(base, "bench", "payments", [], days=1).api_key
        self._settings = [base, *(gateway_settings(base, run.directory) for _ in range(gateways - 1))]
        self._processes: list[GatewayProcess] = []
        self._started = 0
        now = SystemClock().now_ms()
        self.payments = [
            Transaction(
                transaction_id=f"gateway-{number}", account_id=f"account-{number % 30}", amount=1_000 + 37 * number,
                currency="EUR", event_time=now + number, merchant_id=f"m-{number % 9}", channel="ecom",
            )
            for number in range(_REQUESTS)
        ]  # fmt: skip
        run.answers = {payment.transaction_id: [] for payment in self.payments}
        for number in range(gateways):
            self._processes.append(self._start(number))

    def close(self) -> None:
        """End all gateways."""
        for process in self._processes:
            process.kill()

    def kill_and_restart(self) -> None:
        """Kill the first gateway, and start it again at the same address."""
        self._processes[0].kill()
        self._processes[0] = self._start(0)

    def ask(self, during: Callable[[], None] | None = None) -> float:
        """Ask every gateway for all payments at once, until each has the standing decision, and then once more.

        Args:
            during: The fault, injected once all requests wait at the first gateway.

        Returns:
            Seconds from the end of the fault to the last decision.
        """
        return asyncio.run(self._ask(during))

    async def _ask(self, during: Callable[[], None] | None) -> float:
        clients = [
            AsyncGatewayClient(
                process.url, self._key, patience_s=PATIENCE_S, timeout_s=_ANSWER_S, connections=_REQUESTS
            )
            for process in self._processes
        ]
        try:
            asked = [
                asyncio.create_task(self._decided(client, payment)) for payment in self.payments for client in clients
            ]
            if during is not None:
                await asyncio.to_thread(self._await_requests)
                await asyncio.to_thread(during)
            started = perf_counter()
            await asyncio.gather(*asked)
            seconds = perf_counter() - started
            for client in clients:
                await asyncio.gather(*(self._decided(client, payment) for payment in self.payments))
        finally:
            for client in clients:
                await client.close()
        return seconds

    async def _decided(self, client: AsyncGatewayClient, payment: Transaction) -> None:
        deadline = perf_counter() + PATIENCE_S
        while perf_counter() < deadline:
            answer = await client.decide(payment, deadline_ms=_DEADLINE_MS)
            if not answer.provisional:
                self._run.answers[payment.transaction_id].append(answer)
                return
        ensure(False, f"{payment.transaction_id} is decided")

    def _await_requests(self) -> None:
        def published() -> bool:
            return sum(self._run.topics.ends(Name.TRANSACTIONS).values()) >= _REQUESTS

        wait_until(published, PATIENCE_S, "the requests", every_s=0.02)

    def _start(self, number: int) -> GatewayProcess:
        self._started += 1
        process = GatewayProcess(self._settings[number], self._run.directory, f"gateway-{self._started}")
        wait_until(lambda: process.ready or not process.running, PATIENCE_S, "the gateway", every_s=0.1)
        ensure(process.running, f"the gateway runs; its log ends with {process.log_tail}")
        return process


def gateway_killed(run: Deployment) -> float:
    """A gateway is killed with 100 published payments waiting; the worker begins to decide only afterwards."""
    with ExitStack() as parts:
        fleet = GatewayFleet(run)
        parts.callback(fleet.close)

        def strike() -> None:
            fleet.kill_and_restart()
            run.worker()

        return fleet.ask(strike)


def worker_killed(run: Deployment) -> float:
    """A worker is frozen while 100 requests come to wait for it, and is killed; another one decides."""
    with ExitStack() as parts:
        worker = run.worker()
        wait_until(lambda: worker.ready, PATIENCE_S, "the worker", every_s=0.1)
        fleet = GatewayFleet(run)
        parts.callback(fleet.close)
        worker.signal(signal.SIGSTOP)

        def strike() -> None:
            worker.kill()
            run.worker()

        return fleet.ask(strike)


def broker_restarted(run: Deployment) -> float:
    """The broker is killed and restarted with 100 published payments waiting."""
    with ExitStack() as parts:
        fleet = GatewayFleet(run)
        parts.callback(fleet.close)

        def strike() -> None:
            run.stack.broker.kill()
            run.stack.broker.start()
            run.worker()

        return fleet.ask(strike)


def asked_twice_at_once(run: Deployment) -> float:
    """Two gateways are asked for the same 100 ids at once."""
    with ExitStack() as parts:
        worker = run.worker()
        wait_until(lambda: worker.ready, PATIENCE_S, "the worker", every_s=0.1)
        fleet = GatewayFleet(run, gateways=2)
        parts.callback(fleet.close)
        return fleet.ask()


def against_log(run: Deployment) -> Difference:
    """Compare the answers of the gateways with one another and with the decisions in the log."""
    # A decision that is published again with the same bytes is the same one.
    messages = dict.fromkeys(message.value() for message in run.topics.messages(Name.DECISIONS))
    decisions = [msgspec.json.decode(message, type=Decision) for message in messages]
    standing = [each for each in decisions if not each.degraded and each.final is not True]
    counted = Counter(each.transaction_id for each in standing)
    first = {each.transaction_id: each for each in reversed(standing)}
    return Difference(
        lost=frozenset(id_ for id_, answers in run.answers.items() if id_ not in first or not answers),
        doubled=frozenset(id_ for id_, number in counted.items() if number > 1),
        changed=frozenset(
            id_ for id_, answers in run.answers.items() if id_ in first and not _agree(answers, first[id_])
        ),
    )


def _agree(answers: Sequence[Answer], decision: Decision) -> bool:
    said = {msgspec.json.encode(msgspec.structs.replace(answer, latency_ms=0.0)) for answer in answers}
    return len(said) == 1 and (answers[0].action, answers[0].score) == (decision.action, decision.score)
