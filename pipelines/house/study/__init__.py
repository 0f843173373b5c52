"""Is a bend legible? The house model under knobs, measured: `bender study fig3 | fig4 | geometry | response`.

`masks` finds the subject in a picture; `measures` are numbers of pictures and of changes; `play` plays many captions at
once under a bend; each study is a file of its own; `report` writes tables and verdicts, `charts` draws them.
"""
