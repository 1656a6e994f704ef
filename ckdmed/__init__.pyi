# What __init__.py brings when it is asked for, said to type checkers and editors.
from . import bundle as bundle
from . import cli as cli
from . import data as data
from . import engines as engines
from . import experiments as experiments
from . import export as export
from . import handlers as handlers
from . import inference as inference
from . import inferers as inferers
from . import losses as losses
from . import methods as methods
from . import metrics as metrics
from . import networks as networks
from . import preparation as preparation
from . import recipes as recipes
from . import reports as reports
from . import sections as sections
from . import transforms as transforms

__version__: str
