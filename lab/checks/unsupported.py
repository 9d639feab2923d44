"""What bare metal does not do is refused as stock refuses it."""
from checks import check, same_as_stock
from cloud import scenarios


@check()
def unsupported():
    """Pause, suspend, image, password, console log, migration, diagnostics and serial console answer as stock's"""
    scenarios.offered(1)
    same_as_stock('refused', scenarios.refused())
