# The image of every Airflow service in docker-compose.yaml.
#
# requirements.txt is the exported lock and the whole list: what else the base image brings, such
# as its other providers, was chosen against other versions and is removed.

ARG AIRFLOW_VERSION=3.3.2
ARG PYTHON_VERSION=3.12
FROM apache/airflow:${AIRFLOW_VERSION}-python${PYTHON_VERSION}

# What the SQL Server drivers load from the system: ODBC, Kerberos, libtool's loader. And Java, in which
# Debezium follows other databases.
USER root
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libgssapi-krb5-2 \
        libkrb5-3 \
        libltdl7 \
        libodbc2 \
        openjdk-17-jre-headless \
        unixodbc \
    && rm -rf /var/lib/apt/lists/* \
    # A new named volume takes its owner from the directory that it covers.
    && install --directory --owner=airflow --group=0 --mode=0775 /opt/airflow/auth /opt/airflow/exports
USER airflow
WORKDIR /opt/airflow

COPY --chown=airflow:0 requirements.txt ./
RUN uv pip sync --no-cache requirements.txt

# More packages at the versions of the lock where it has them. CeleryExecutor needs
# EXTRA_PACKAGES=apache-airflow-providers-celery, which brings celery and redis.
ARG EXTRA_PACKAGES=""
RUN if [ -n "${EXTRA_PACKAGES}" ]; then \
        uv pip install --no-cache --constraint requirements.txt ${EXTRA_PACKAGES}; \
    fi

COPY --chown=airflow:0 pyproject.toml README.md ./
COPY --chown=airflow:0 include include
COPY --chown=airflow:0 migrations migrations
COPY --chown=airflow:0 plugins plugins
COPY --chown=airflow:0 dags dags
RUN uv pip install --no-cache --no-deps --editable .

ENV PYTHONPATH=/opt/airflow

# Ends the build where the project or its commands cannot be loaded.
RUN python -c "import include, retail_sync" && airflow retail backfill --help > /dev/null
