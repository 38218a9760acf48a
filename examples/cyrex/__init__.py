"""A demo Cyrex: an AI orchestrator that publishes what it does, without having a model.

`traffic` makes up realistic events, `trace` reads recorded ones, `__main__` publishes either at their pace and
shows what flows, `platform` starts the whole of Synapse around it (`make run`).
"""
