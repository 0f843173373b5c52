"""OSC: packets over UDP and TCP to parameters, what listeners are told, and OSCQuery for programs that ask."""

PORT = 9000  # unless told otherwise
