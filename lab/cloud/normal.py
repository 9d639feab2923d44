"""Takes out of an observation what differs from run to run, so that two observations can be compared with ==."""
import re

UUID = re.compile(r'(?<![0-9A-Za-z])[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\b')
PATTERNS = [
    (re.compile(r'\breq-<uuid>|\breq-[0-9a-f-]{36}\b'), '<request>'),
    (re.compile(r'(?<=token%3D)[0-9a-f-]{36}\b'), '<uuid>'),
    (re.compile(r'\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b'), '<mac>'),
    (re.compile(r'\b10\.(?:77|88)\.\d+\.(?!0/)\d+\b'), '<address>'),
    (re.compile(r'\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)?'), '<time>'),
    (re.compile(r'\br-[0-9a-z]{8}\b'), '<reservation>'),
    (re.compile(r'\b(?:lab|fragile|bfv|serial|twin)-\d{4}\b'), '<node>'),
    (re.compile(r'\btap[0-9a-f]{8}-[0-9a-f]{2}\b'), '<tap>'),
    (re.compile(r'\bssh-ed25519 \S+'), '<key>'),
    (re.compile(r'\b(instance|ami|i)-[0-9a-f]{8}\b'), r'\1-<number>'),
    (re.compile(r'\b(?:lab|stock|bessemer)-(?:life|bare|own-port|exhausted|rescheduled|refused|interrupted|from-volume|two-volumes|rebuilt|serial|screen|interfaces)\b'), '<name>'),
]


def text(value, names):
    """A string with what is volatile in it replaced: a known uuid by its name, any other by <uuid>."""
    value = UUID.sub(lambda found: names.get(found[0], '<uuid>'), value)
    for pattern, name in PATTERNS:
        value = pattern.sub(name, value)
    return value


def document(value, names):
    """The same for everything inside a JSON document."""
    if isinstance(value, dict):
        return {text(key, names): document(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [document(each, names) for each in value]
    return text(value, names) if isinstance(value, str) else value


def shape(value, path='$'):
    """Which keys a JSON document has and of what type each value is: {path: types}. List items share a path."""
    found = {path: {type(value).__name__}}
    children = value.items() if isinstance(value, dict) else [(None, each) for each in value] if isinstance(value, list) else []
    for key, each in children:
        for inner, types in shape(each, f'{path}.{key}' if key is not None else f'{path}[]').items():
            found.setdefault(inner, set()).update(types)
    return found


def printable_shape(value):
    return {path: ' or '.join(sorted(types)) for path, types in sorted(shape(value).items())}


def differences(stock, ours, path=''):
    """The places where two documents differ, one line each."""
    if isinstance(stock, dict) and isinstance(ours, dict):
        lines = []
        for key in sorted(stock.keys() | ours.keys(), key=str):
            here = f'{path}/{key}'
            if key not in ours:
                lines.append(f'{here}: missing, stock has {stock[key]!r}')
            elif key not in stock:
                lines.append(f'{here}: {ours[key]!r}, stock has nothing')
            else:
                lines += differences(stock[key], ours[key], here)
        return lines
    if isinstance(stock, list) and isinstance(ours, list) and len(stock) == len(ours):
        return [line for number, pair in enumerate(zip(stock, ours)) for line in differences(*pair, f'{path}/{number}')]
    return [] if stock == ours else [f'{path}: {ours!r}, stock has {stock!r}']
