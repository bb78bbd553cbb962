from cloister.envelope import *  # noqa
from cloister.envelope import LARGEST, Binding, ClaimsBinding, DataBinding, Envelope, KeyBinding, KeyForm, open_envelope  # noqa
