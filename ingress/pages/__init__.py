"""The operator's pages: rendered here, with styles, script and charts of this machine's own."""
