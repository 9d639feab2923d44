"""What stock nova-compute did in each story, as recorded in lab/stock, one JSON file a story."""
import json

from cloud import normal, settings


def _file(story):
    return settings.STOCK / f'{story}.json'


def save(story, seen):
    settings.STOCK.mkdir(exist_ok=True)
    _file(story).write_text(json.dumps(seen, indent=1, sort_keys=True, default=str) + '\n')


def load(story):
    return json.loads(_file(story).read_text())


def differences(story, seen, *path):
    """Where `seen` differs from the recorded story, or from the part of it at `path`."""
    stock = load(story)
    for key in path:
        stock = stock[key]
    return normal.differences(stock, json.loads(json.dumps(seen, sort_keys=True, default=str)))
