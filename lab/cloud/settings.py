"""Where the lab keeps its things and on which ports it listens. The shell's side of this is lab/lib.sh, which exports these."""
import os
import pathlib

LAB_HOME = pathlib.Path(__file__).resolve().parent.parent
LAB_DIR = pathlib.Path(os.environ.get('LAB_DIR', '/tmp/lab'))
LOG, PID, RUN, ETC = (LAB_DIR / name for name in ('log', 'pid', 'run', 'etc'))
PASSWORD = os.environ.get('LAB_PASSWORD', 'labpw')
COMPUTE_HOST = os.environ.get('LAB_COMPUTE_HOST', 'lab-ironic')
AUTH_URL = 'http://127.0.0.1:5000/v3'
REGION = 'RegionOne'
STOCK = LAB_HOME / 'stock'
