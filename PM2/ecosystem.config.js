// `pm2 start PM2/ecosystem.config.js`, then `pm2 save`. docs/operating/service.md says what to expect.
//
// Read from the environment at that moment:
//   VALIDATOR_WORKDIR   directory that holds .env and, by default, the data (.loosh); default: this checkout
//   PYTHON_INTERPRETER  python that has loosh_pipeline; default: .venv/bin/python of this checkout
//   API_HOST, API_PORT  where challenges are taken; default: as .env says
// Everything else is a setting of the validator: put it into .env.
'use strict';

const fs = require('fs');
const path = require('path');

const checkout = path.resolve(__dirname, '..');
const home = process.env.HOME || '';
const expanded = (given) => given.replace(/^~(?=\/|$)/, home);
const workdir = path.resolve(expanded(process.env.VALIDATOR_WORKDIR || checkout));

function python() {
  const given = process.env.PYTHON_INTERPRETER;
  if (given) {
    // A name without a directory, such as python3.12, is looked for in PATH.
    return given.includes('/') ? path.resolve(workdir, expanded(given)) : given;
  }
  const own = path.join(checkout, '.venv', 'bin', 'python');
  return fs.existsSync(own) ? own : 'python3';
}

// Set only when given: a default from here would overrule .env.
const env = { PYTHONUNBUFFERED: '1' };
for (const name of ['API_HOST', 'API_PORT']) {
  if (process.env[name]) {
    env[name] = process.env[name];
  }
}

module.exports = {
  apps: [
    {
      name: 'loosh-inference-validator',
      script: python(),
      args: ['-m', 'loosh_pipeline.cli', 'up'],
      interpreter: 'none',
      cwd: workdir,
      env,
      exec_mode: 'fork',
      instances: 1,

      // `loosh up` restarts its own processes; what ends it as a whole is started again here, later each time, for
      // as long as it takes. Wrong settings (status 2) do not become right by trying again.
      autorestart: true,
      stop_exit_codes: [2],
      exp_backoff_restart_delay: 1000,
      min_uptime: '60s',
      max_restarts: 1000000,

      // It needs at most 30 s to stop all of its processes, in their order: they are not signalled past it.
      kill_timeout: 40000,
      treekill: false,

      // PM2 looks at this one process alone, which takes some 0.1 GB; those it runs take up to 4.3 GB together, and
      // are bounded by WORKER_MAX_RUNS and 600 MB each. To bound all of them, use systemd or a container.
      max_memory_restart: '1G',

      // What `loosh up` itself says. The output of its processes is in LOOSH_HOME/logs, rotated.
      error_file: path.join(workdir, 'logs', 'validator-error.log'),
      out_file: path.join(workdir, 'logs', 'validator-out.log'),
      log_file: path.join(workdir, 'logs', 'validator-combined.log'),
      log_date_format: 'YYYY-MM-DD HH:mm:ss Z',
      merge_logs: true,
      watch: false,
    },
  ],
};
