"""The web page: its server, what a page is sent and sends, and who may open one."""

PORT = 8000  # unless told otherwise
