BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE challenges (
	id VARCHAR(128) NOT NULL, 
	request JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	received_at DATETIME NOT NULL, 
	state_changed_at DATETIME NOT NULL, 
	next_run_at DATETIME, 
	attempts INTEGER NOT NULL, 
	collected_at DATETIME, 
	scored_at DATETIME, 
	submitted_at DATETIME, 
	asked INTEGER NOT NULL, 
	answered INTEGER NOT NULL, 
	elapsed_ms_sum FLOAT NOT NULL, 
	failure TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "challenges" VALUES('c-received','{"id": "c-received", "prompt": "why?"}','received','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',0,NULL,NULL,NULL,0,0,0.0,NULL);
INSERT INTO "challenges" VALUES('c-dispatched','{"id": "c-dispatched", "prompt": "why?"}','dispatched','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,1,NULL,NULL,NULL,0,0,0.0,NULL);
INSERT INTO "challenges" VALUES('c-scored','{"id": "c-scored", "prompt": "warum? é"}','scored','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,1,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,7,6,1234.5,NULL);
INSERT INTO "challenges" VALUES('c-submitted','{"id": "c-submitted", "prompt": "why?"}','submitted','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,2,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',7,7,4321.0,NULL);
INSERT INTO "challenges" VALUES('c-failed','{"id": "c-failed", "prompt": "why?"}','failed','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,150,NULL,NULL,NULL,0,0,0.0,'no miner answered');
CREATE TABLE flags (
	name VARCHAR(32) NOT NULL, 
	value VARCHAR(64) NOT NULL, 
	changed_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "flags" VALUES('running','true','2026-01-02 03:04:05.678901');
CREATE TABLE miners (
	hotkey VARCHAR(64) NOT NULL, 
	coldkey VARCHAR(64) NOT NULL, 
	uid INTEGER NOT NULL, 
	ip VARCHAR(64) NOT NULL, 
	port INTEGER NOT NULL, 
	asked INTEGER NOT NULL, 
	answered INTEGER NOT NULL, 
	last_outcome VARCHAR(32) NOT NULL, 
	last_asked_at DATETIME NOT NULL, 
	last_answered_at DATETIME, 
	PRIMARY KEY (hotkey)
);
INSERT INTO "miners" VALUES('5Hotkey','5Coldkey',3,'192.0.2.1',8091,7,6,'answered','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901');
CREATE TABLE outbox (
	id INTEGER NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	challenge_id VARCHAR(128) NOT NULL, 
	payload BLOB NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	next_attempt_at DATETIME NOT NULL, 
	delivered_at DATETIME, 
	detail TEXT, 
	PRIMARY KEY (id), 
	CONSTRAINT outbox_once UNIQUE (kind, challenge_id), 
	FOREIGN KEY(challenge_id) REFERENCES challenges (id)
);
INSERT INTO "outbox" VALUES(1,'response_batch','c-scored',X'7B2261223A317D','pending',3,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,'HTTP 503');
INSERT INTO "outbox" VALUES(2,'response_batch','c-submitted',X'7B7D','delivered',1,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','HTTP 201');
CREATE INDEX challenges_state ON challenges (state, next_run_at);
CREATE INDEX challenges_received_at ON challenges (received_at);
CREATE INDEX challenges_figures ON challenges (state, asked, answered, elapsed_ms_sum);
CREATE INDEX outbox_due ON outbox (state, next_attempt_at);
COMMIT;
