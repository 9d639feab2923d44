"""CPU and memory of one process over time, sampled from /proc."""
import bisect
import os
import threading
import time

_TICK = os.sysconf('SC_CLK_TCK')


def _now(pid):
    with open(f'/proc/{pid}/stat') as stat, open(f'/proc/{pid}/status') as status:
        fields = stat.read().rsplit(')', 1)[1].split()
        sizes = dict(line.split(':', 1) for line in status)
    return (int(fields[11]) + int(fields[12])) / _TICK, int(sizes['VmRSS'].split()[0]) / 1024, int(sizes['VmHWM'].split()[0]) / 1024


class Watch:
    """Samples a process ten times a second from entering to leaving."""

    def __init__(self, pid):
        self._pid, self._over = pid, threading.Event()
        self._times, self._samples = [], []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(0.1):
            try:
                sample = _now(self._pid)
            except (OSError, KeyError):
                return
            self._samples.append(sample)
            self._times.append(time.time())

    def alive(self):
        return self._thread.is_alive()

    def cpu(self, start, end):
        """CPU seconds used between two moments."""
        return round(self._at(end)[0] - self._at(start)[0], 2)

    def rss(self, moment):
        return round(self._at(moment)[1], 1)

    def peak(self):
        return round(self._samples[-1][2], 1)

    def _at(self, moment):
        """The last sample before a moment; before the first sample nothing was used."""
        index = bisect.bisect_right(self._times, moment)
        return self._samples[index - 1] if index else (0.0, 0.0, 0.0)
