CREATE TABLE registry (one BIGINT PRIMARY KEY, format BIGINT NOT NULL, version BIGINT NOT NULL);
CREATE TABLE tenant (
    name TEXT PRIMARY KEY, sends_as TEXT NOT NULL, state TEXT NOT NULL, created_ms BIGINT NOT NULL);
CREATE TABLE stream (
    tenant TEXT NOT NULL REFERENCES tenant (name), name TEXT NOT NULL, place BIGINT NOT NULL, class TEXT NOT NULL, priority TEXT NOT NULL,
    pool TEXT, give_up_after_s BIGINT, retention_s BIGINT, own_return_path BIGINT NOT NULL, one_click BIGINT NOT NULL,
    feedback_id BIGINT NOT NULL, strips TEXT NOT NULL, rules TEXT NOT NULL, PRIMARY KEY (tenant, name));
CREATE TABLE domain (
    tenant TEXT NOT NULL REFERENCES tenant (name), name TEXT NOT NULL, token TEXT NOT NULL, return_path TEXT NOT NULL,
    proven_ms BIGINT, return_path_ready_ms BIGINT, created_ms BIGINT NOT NULL, PRIMARY KEY (tenant, name));
CREATE INDEX domain_by_name ON domain (name);
CREATE INDEX domain_by_return_path ON domain (return_path);
CREATE TABLE dkim_key (
    tenant TEXT NOT NULL, domain TEXT NOT NULL, selector TEXT NOT NULL, algorithm TEXT NOT NULL, sealed BLOB NOT NULL,
    record TEXT NOT NULL, state TEXT NOT NULL, created_ms BIGINT NOT NULL, changed_ms BIGINT NOT NULL,
    PRIMARY KEY (tenant, domain, selector), FOREIGN KEY (tenant, domain) REFERENCES domain (tenant, name));
CREATE TABLE credential (
    user_name TEXT PRIMARY KEY, secret_sha256 BLOB NOT NULL, tenant TEXT NOT NULL, stream TEXT NOT NULL, scopes TEXT NOT NULL,
    networks TEXT NOT NULL, expires_ms BIGINT, state TEXT NOT NULL, why TEXT NOT NULL, created_ms BIGINT NOT NULL,
    last_used_ms BIGINT, last_used_from TEXT, FOREIGN KEY (tenant, stream) REFERENCES stream (tenant, name));
CREATE INDEX credential_by_tenant ON credential (tenant);
CREATE TABLE allowance (
    tenant TEXT NOT NULL REFERENCES tenant (name), credential TEXT NOT NULL, messages_per_second BIGINT, messages_per_hour BIGINT,
    messages_per_day BIGINT, recipients_per_second BIGINT, recipients_per_hour BIGINT, recipients_per_day BIGINT,
    recipients_per_message BIGINT, message_octets BIGINT, beyond TEXT NOT NULL, PRIMARY KEY (tenant, credential));
CREATE TABLE meter (holder TEXT PRIMARY KEY, counts TEXT NOT NULL);
INSERT INTO registry (one, format, version) VALUES (1, 1, 1);
