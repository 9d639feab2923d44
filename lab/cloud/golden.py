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


def differences(story, seen, *path, ignoring=()):
    """Where `seen` differs from the recorded story, or from the part of it at `path`; some of the keys there may be left out."""
    stock = load(story)
    for key in path:
        stock = stock[key]
    seen = json.loads(json.dumps(seen, sort_keys=True, default=str))
    for key in ignoring:
        stock.pop(key, None)
        seen.pop(key, None)
    return normal.differences(stock, seen)
