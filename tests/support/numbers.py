"""What `/metrics` says, for tests: numbers of one process only grow, so tests look at what was added."""

from prometheus_client.parser import text_string_to_metric_families

from telephony import metrics


class Numbers:
    """`added(name, **labels)`: by how much a sample has grown since this was made."""

    def __init__(self):
        self._before = self._now()

    def added(self, name: str, **labels: str) -> float:
        key = ("realtime_bridge_" + name, frozenset(labels.items()))
        return self._now().get(key, 0.0) - self._before.get(key, 0.0)

    @staticmethod
    def _now() -> dict:
        families = text_string_to_metric_families(metrics.page().decode())
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
