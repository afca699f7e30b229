"""Download files and archives: checked, retried and resumed."""
