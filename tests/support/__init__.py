"""What the tests share: recorded samples, small servers, a browser, and runs that are killed."""
