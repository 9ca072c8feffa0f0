"""The lesson and the assignments on musl, which the real ``node:alpine`` has and the stand-in of most machines has not."""
