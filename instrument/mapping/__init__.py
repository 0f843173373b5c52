"""From a touch to a parameter: device profiles, mapping files and their bindings, takeover, feedback, learning."""
