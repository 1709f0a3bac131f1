# The API server (and any other command of `consilium`). Its database is Postgres by DATABASE_URL; without it, an embedded one in /data.
FROM python:3.12-slim

RUN useradd --create-home --uid 10001 consilium && mkdir /data && chown consilium /data
WORKDIR /app

COPY requirements.lock .
RUN python -m pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

COPY . .
ENV CONSILIUM_PYTHON=/usr/local/bin/python \
    CONSILIUM_HOST=0.0.0.0 \
    CONSILIUM_PORT=8080 \
    CONSILIUM_DATA_DIR=/data \
    LANGGRAPH_STRICT_MSGPACK=true \
    PATH=/app/bin:$PATH

USER consilium
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/ok', timeout=2)"]
CMD ["consilium", "serve"]
