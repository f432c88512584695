"""What runs inside a sandbox: a tester with the tests, and the program in a process of its own.

Standard library alone; a sandbox shows this folder and the interpreter to the program.
"""
