BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0007');
CREATE TABLE canaries (
	challenge_id VARCHAR(128) NOT NULL, 
	accepted JSON NOT NULL, 
	question VARCHAR(64) NOT NULL, 
	salt VARCHAR(32) NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (challenge_id), 
	FOREIGN KEY(challenge_id) REFERENCES challenges (id)
);
INSERT INTO "canaries" VALUES('c-dispatched','[{"exact": "42"}]','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','cccccccccccccccccccccccccccccccc','2026-01-02 03:04:05.678901');
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
	failure TEXT, run_id VARCHAR(64), to_present_since DATETIME, folded_at DATETIME, seq BIGINT, request_sha256 VARCHAR(64), commitment VARCHAR(64), salt VARCHAR(32), link VARCHAR(64), 
	PRIMARY KEY (id)
);
INSERT INTO "challenges" VALUES('c-received','{"id": "c-received", "prompt": "why?"}','received','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',0,NULL,NULL,NULL,0,0,0.0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "challenges" VALUES('c-dispatched','{"id": "c-dispatched", "prompt": "why?"}','dispatched','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,1,NULL,NULL,NULL,0,0,0.0,NULL,'run-9',NULL,NULL,1,'b4a655891b19fbead3d84e1362f80620ce225ecbcb01e8d465fa0c96c81700e6','cad6d3a7d74546f90218b6c64df9be7c17f4e76bef23ae385881de753b6c378f','00000000000000000000000000000001','be1c5487bb6ad564ea3a5f31c7888f4d038ac88c7119b69d5daa4f8bfb92935c');
INSERT INTO "challenges" VALUES('c-scored','{"id": "c-scored", "prompt": "warum? é"}','scored','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,1,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,7,6,1234.5,NULL,NULL,'2026-01-02 03:04:05.678901',NULL,2,'a617355c0ff261f59299a0ef8e3c32b53a9c4e88aa64d4c897e8da9493fa44be','3860f3ec9da54abcc79b3a6a00603a159b20b38268a6cb4f57bdd453af5f74a0','00000000000000000000000000000002','3d337b33b561a3a615d82fdd23a12f40ee4b855cb17566f5e7ff1027357cfdf2');
INSERT INTO "challenges" VALUES('c-submitted','{"id": "c-submitted", "prompt": "why?"}','submitted','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,2,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',7,7,4321.0,NULL,NULL,NULL,'2026-01-02 03:04:05.678901',3,'fed3600643cf7835c6c459c049321a1a385aefc39231bb938e770775057fe413','3041ec32a79e39d314b1cfb2c20650c9de9c34e36952c90562fec25d36c8f079','00000000000000000000000000000003','39deb563f9729b98d75f9a6ff8c8a4b07e4dd8d9c4ca482f0cda45d0bc974413');
INSERT INTO "challenges" VALUES('c-failed','{"id": "c-failed", "prompt": "why?"}','failed','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,150,NULL,NULL,NULL,0,0,0.0,'no miner answered',NULL,NULL,NULL,4,'54ff5d81ced0ee49f667fc7617c02bbc594b27ede857f1b8f5fb64c09e4a2f8d','b8f85ac0ad3899f12574ff9b160f67ddace937ab752256dfbbb22b6c25741897','00000000000000000000000000000004','3431dacb3e33409302f5ac376dc8670e0644aab02fe1179f38d2afd26bf2465e');
CREATE TABLE flags (
	name VARCHAR(32) NOT NULL, 
	value VARCHAR(64) NOT NULL, 
	changed_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "flags" VALUES('running','true','2026-01-02 03:04:05.678901');
CREATE TABLE held_runs (
	run_id VARCHAR(64) NOT NULL, 
	host VARCHAR(128) NOT NULL, 
	queue VARCHAR(32) NOT NULL, 
	seen_at DATETIME NOT NULL, 
	cancel BOOLEAN NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "held_runs" VALUES('run-9','worker-1/ab12','dagster','2026-01-02 03:04:05.678901',0);
CREATE TABLE hosts (
	host VARCHAR(128) NOT NULL, 
	queue VARCHAR(32) NOT NULL, 
	incarnation VARCHAR(32) NOT NULL, 
	children INTEGER NOT NULL, 
	busy INTEGER NOT NULL, 
	seen_at DATETIME NOT NULL, 
	PRIMARY KEY (host, queue)
);
INSERT INTO "hosts" VALUES('worker-1/ab12','dagster','0a1b2c3d',22,1,'2026-01-02 03:04:05.678901');
CREATE TABLE ingress_keys (
	name VARCHAR(32) NOT NULL, 
	private_pem BLOB NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE leases (
	name VARCHAR(64) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	fence BIGINT NOT NULL, 
	expires_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "leases" VALUES('weights','run-1',41,'2026-01-02 03:04:05.678901');
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
CREATE TABLE nonces (
	hotkey VARCHAR(64) NOT NULL, 
	nonce VARCHAR(128) NOT NULL, 
	alive_until DATETIME NOT NULL, 
	PRIMARY KEY (hotkey, nonce)
);
INSERT INTO "nonces" VALUES('5Hotkey','1733011200.5','2026-01-02 03:04:05.678901');
CREATE TABLE "outbox" (
	id INTEGER NOT NULL, 
	kind VARCHAR(32) NOT NULL, 
	challenge_id VARCHAR(128), 
	payload BLOB NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempts INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	next_attempt_at DATETIME NOT NULL, 
	delivered_at DATETIME, 
	detail TEXT, 
	"key" VARCHAR(192) NOT NULL, 
	PRIMARY KEY (id), 
	CONSTRAINT outbox_once UNIQUE (kind, "key"), 
	FOREIGN KEY(challenge_id) REFERENCES challenges (id)
);
INSERT INTO "outbox" VALUES(1,'response_batch','c-scored',X'7B2261223A317D','pending',3,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',NULL,'HTTP 503','c-scored');
INSERT INTO "outbox" VALUES(2,'response_batch','c-submitted',X'7B7D','delivered',1,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901','HTTP 201','c-submitted');
CREATE TABLE sessions (
	role VARCHAR(8) NOT NULL, 
	peer VARCHAR(256) NOT NULL, 
	uuid VARCHAR(128) NOT NULL, 
	symmetric_key BLOB NOT NULL, 
	expires_at DATETIME NOT NULL, 
	PRIMARY KEY (role, peer, uuid)
);
INSERT INTO "sessions" VALUES('miner','5Peer@192.0.2.1:8091','u-1',X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F','2026-01-02 03:04:05.678901');
CREATE TABLE submissions (
	id INTEGER NOT NULL, 
	netuid INTEGER NOT NULL, 
	hotkey VARCHAR(64) NOT NULL, 
	genesis_hash VARCHAR(66), 
	block BIGINT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	"plan" JSON NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason TEXT NOT NULL, 
	commit_reveal BOOLEAN NOT NULL, 
	spec_version INTEGER NOT NULL, 
	reveal_period_epochs BIGINT NOT NULL, 
	extrinsic_hash VARCHAR(66), 
	dies_at BIGINT, 
	included_block BIGINT, 
	reveal_round BIGINT, 
	reveal_epoch BIGINT, 
	error_code VARCHAR(64), 
	composed_here TEXT, 
	fence BIGINT NOT NULL, 
	created_at DATETIME NOT NULL, 
	changed_at DATETIME NOT NULL, 
	seen_block BIGINT NOT NULL, 
	seen_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "submissions" VALUES(1,78,'5Validator','0xaa',5000,'d1','{"version_key": 1, "weights": [[3, "5Hotkey", 65535]], "dropped": {"5Gone": "deregistered"}}','observed','the chain has it',0,461,1,'0xbb',5064,5001,NULL,NULL,NULL,NULL,41,'2026-01-02 03:04:05.678901','2026-01-02 03:04:05.678901',5002,'2026-01-02 03:04:05.678901');
CREATE TABLE totals (
	state VARCHAR(16) NOT NULL, 
	challenges BIGINT NOT NULL, 
	asked BIGINT NOT NULL, 
	answered BIGINT NOT NULL, 
	elapsed_ms_sum FLOAT NOT NULL, 
	PRIMARY KEY (state)
);
INSERT INTO "totals" VALUES('submitted',1,7,7,4321.0);
CREATE INDEX challenges_state ON challenges (state, next_run_at);
CREATE INDEX outbox_due ON outbox (state, next_attempt_at);
CREATE INDEX nonces_alive_until ON nonces (alive_until);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
CREATE INDEX submissions_of ON submissions (netuid, hotkey, id);
CREATE INDEX challenges_to_present ON challenges (received_at) WHERE to_present_since IS NOT NULL;
CREATE INDEX challenges_queue ON challenges (received_at, id, next_run_at, state) WHERE next_run_at IS NOT NULL;
CREATE INDEX challenges_figures ON challenges (state, asked, answered, elapsed_ms_sum) WHERE folded_at IS NULL;
CREATE INDEX challenges_parked ON challenges (state_changed_at) WHERE state = 'failed';
CREATE INDEX outbox_counts ON outbox (kind, state);
CREATE INDEX submissions_undecided ON submissions (netuid, hotkey, state);
CREATE INDEX held_runs_host ON held_runs (host, queue);
CREATE UNIQUE INDEX challenges_chain ON challenges (seq) WHERE seq IS NOT NULL;
CREATE INDEX challenges_unlinked ON challenges (received_at) WHERE seq IS NULL;
CREATE INDEX canaries_created_at ON canaries (created_at);
CREATE INDEX canaries_question ON canaries (question);
CREATE INDEX challenges_received_at ON challenges (received_at, id);
CREATE INDEX challenges_scored ON challenges (scored_at, received_at, id) WHERE scored_at IS NOT NULL;
CREATE INDEX challenges_listed ON challenges (state, received_at, id);
COMMIT;
