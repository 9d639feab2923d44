"""Consoles, through Nova's own proxies."""
from checks import check, same_as_stock
from cloud import consoles


@check()
def serial_console():
    """A serial console is reset for its user and reached through nova-serialproxy; off, or with a made-up token, it is not: as with stock"""
    same_as_stock('consoles', consoles.serial(), 'serial')


@check()
def graphical_console():
    """A graphical console is switched on for its user and reached through nova-novncproxy; other kinds are refused: as with stock"""
    same_as_stock('consoles', consoles.screen(), 'screen')
