"""Second conversations about a finished prediction: judges, answer extraction. A grader names no benchmark."""
