# What __init__.py brings when it is asked for, said to type checkers and editors.
from . import bundle as bundle
from . import cli as cli
from . import clinic as clinic
from . import data as data
from . import demo as demo
from . import deploy as deploy
from . import dicom_node as dicom_node
from . import dicom_results as dicom_results
from . import engines as engines
from . import experiments as experiments
from . import export as export
from . import handlers as handlers
from . import inference as inference
from . import inferers as inferers
from . import intended_inputs as intended_inputs
from . import losses as losses
from . import methods as methods
from . import metrics as metrics
from . import networks as networks
from . import preparation as preparation
from . import pruning as pruning
from . import pseudo_labels as pseudo_labels
from . import recipes as recipes
from . import reports as reports
from . import run_pages as run_pages
from . import runtime as runtime
from . import sections as sections
from . import transforms as transforms
from . import zoo_teacher as zoo_teacher

__version__: str
