// dockerode against the engine that DOCKER_HOST names. The suite `clients` starts it.
'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');
const { PassThrough } = require('node:stream');
const { finished } = require('node:stream/promises');
const Docker = require('dockerode');
const tar = require('tar-stream');
const { run } = require('./check.js');

const IMAGE = 'bb:latest';
const docker = new Docker();
const TEXT = Buffer.from(Array.from({ length: 40000 }, (_, line) => `line ${line}\n`).join(''));

const create = (name, command, more = {}) => docker.createContainer({
  name, Image: IMAGE, Cmd: command, HostConfig: { Init: true }, ...more,
});

const INPUT = { OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true };

// A container that sleeps until it is removed, for as long as `use` takes.
async function withSleeper(name, use) {
  const container = await create(name, ['sleep', '3600']);
  await container.start();
  await use(container);
  await container.remove({ force: true });
}

// A stream to its end, as bytes.
async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

// Both streams of a multiplexed one, to their end.
async function demuxed(stream) {
  const out = new PassThrough();
  const err = new PassThrough();
  docker.modem.demuxStream(stream, out, err);
  stream.on('end', () => { out.end(); err.end(); });
  stream.on('error', (error) => { out.destroy(error); err.destroy(error); });
  const [first, second] = await Promise.all([collect(out), collect(err)]);
  return { out: first, err: second.toString() };
}

function packed(files) {
  const pack = tar.pack();
  for (const [name, content] of Object.entries(files)) pack.entry({ name, mode: 0o640 }, content);
  pack.finalize();
  return pack;
}

const followed = (stream) => new Promise((resolve, reject) => {
  const seen = [];
  docker.modem.followProgress(stream, (error) => (error ? reject(error) : resolve(seen)), (event) => seen.push(event));
});

// The failure of what must fail.
async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  return assert.fail('a failure was taken for a success');
}

run({
  async version_info_and_errors() {
    assert.strictEqual((await docker.version()).Os, 'linux');
    assert.strictEqual((await docker.ping()).toString(), 'OK');
    const error = await failure(docker.getContainer('nobody').inspect());
    assert.strictEqual(error.statusCode, 404);
    assert.match(error.json.message, /nobody/);
  },

  async run_gives_output_and_code() {
    const out = new PassThrough();
    const said = collect(out);
    const [{ StatusCode }, container] = await docker.run(IMAGE, ['sh', '-c', 'echo hello; exit 3'], out, { Tty: false });
    out.end();
    await container.remove();
    assert.strictEqual(StatusCode, 3);
    // One stream was given, so the frames come as they are: eight bytes of header, then the words.
    assert.strictEqual((await said).subarray(8).toString(), 'hello\n');
  },

  async attach_with_hijack_and_half_close() {
    const container = await create('js-attach', ['sh', '-c', 'cat; echo all of it >&2; exit 4'], INPUT);
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    const streams = demuxed(stream);
    await container.start();
    stream.end(TEXT);
    const { out, err } = await streams;
    assert.ok(out.equals(TEXT), `${out.length} bytes of ${TEXT.length} came back, or others`);
    assert.strictEqual(err, 'all of it\n');
    assert.strictEqual((await container.wait()).StatusCode, 4);
    await container.remove();
  },

  async attach_to_a_terminal_and_resize() {
    const script = 'read go; stty size; read go; echo typed $go';
    const container = await create('js-terminal', ['sh', '-c', script], { Tty: true, OpenStdin: true });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    let seen = '';
    const sized = new Promise((resolve) => stream.on('data', (part) => {
      seen += part;
      if (seen.includes('37 101')) resolve();
    }));
    await container.start();
    await container.resize({ h: 37, w: 101 });
    stream.write('\n');
    await sized;
    stream.write('word\n');
    await finished(stream, { writable: false });
    assert.match(seen, /typed word/);
    await container.remove();
  },

  async exec_ends_with_its_input() {
    await withSleeper('js-exec', async (container) => {
      const exec = await container.exec({
        Cmd: ['sh', '-c', 'sha256sum; echo aside >&2; exit 9'], AttachStdin: true, AttachStdout: true, AttachStderr: true,
      });
      const stream = await exec.start({ hijack: true, stdin: true });
      const streams = demuxed(stream);
      stream.end(TEXT);
      const { out, err } = await streams;
      assert.strictEqual(out.toString().split(' ')[0], crypto.createHash('sha256').update(TEXT).digest('hex'));
      assert.strictEqual(err, 'aside\n');
      assert.strictEqual((await exec.inspect()).ExitCode, 9);
    });
  },

  async exec_without_hijack_is_streamed() {
    await withSleeper('js-plain', async (container) => {
      const exec = await container.exec({ Cmd: ['sh', '-c', 'seq 3; echo aside >&2'], AttachStdout: true, AttachStderr: true });
      const { out, err } = await demuxed(await exec.start({}));
      assert.strictEqual(out.toString(), '1\n2\n3\n');
      assert.strictEqual(err, 'aside\n');
    });
  },

  async logs_follow_to_the_end() {
    const container = await create('js-logs', ['sh', '-c', 'for i in 1 2 3; do echo tick $i; sleep 1; done; echo gone >&2']);
    await container.start();
    const { out, err } = await demuxed(await container.logs({ follow: true, stdout: true, stderr: true }));
    assert.strictEqual(out.toString(), 'tick 1\ntick 2\ntick 3\n');
    assert.strictEqual(err, 'gone\n');
    await container.remove();
  },

  async a_destroyed_stream_harms_nobody() {
    const container = await create('js-left', ['sh', '-c', 'while :; do seq 1000; done']);
    await container.start();
    for (let turn = 0; turn < 10; turn += 1) {
      const stream = await container.logs({ follow: true, stdout: true });
      await new Promise((resolve) => stream.once('data', resolve));
      stream.destroy();
    }
    assert.strictEqual((await container.inspect()).State.Running, true);
    await container.remove({ force: true });
  },

  async build_is_followed_and_its_failure_too() {
    const file = `FROM ${IMAGE}\nCOPY cargo /cargo\nRUN test $(wc -c < /cargo) = 500000\n`;
    const context = packed({ Dockerfile: file, cargo: Buffer.alloc(500000, 'x') });
    const said = (await followed(await docker.buildImage(context, { t: 'js-built:1' }))).map((line) => line.stream || '').join('');
    assert.match(said, /Successfully tagged js-built:1/);
    await docker.getImage('js-built:1').remove();
    const bad = packed({ Dockerfile: `FROM ${IMAGE}\nRUN echo last words; exit 9\n` });
    // A failure is the last that is told, and no error of the stream.
    const told = await followed(await docker.buildImage(bad, { forcerm: true }));
    assert.ok(told.some((line) => line.stream && line.stream.includes('last words')), JSON.stringify(told));
    assert.match(told.at(-1).error, /returned a non-zero code: 9/);
  },

  async archive_up_and_down() {
    await withSleeper('js-archive', async (container) => {
      const content = crypto.randomBytes(3000000);
      await container.putArchive(packed({ 'deep/cargo': content }), { path: '/root' });
      const entries = [];
      for await (const entry of (await container.getArchive({ path: '/root/deep/cargo' })).pipe(tar.extract())) {
        entries.push([entry.header.name, entry.header.mode, await collect(entry)]);
      }
      assert.strictEqual(entries.length, 1);
      const [[name, mode, back]] = entries;
      assert.deepStrictEqual([name, mode, back.equals(content)], ['cargo', 0o640, true]);
    });
  },

  async events_tell_a_life() {
    // Asked for all that has been, the stream needs no beginning at the right moment.
    const stream = await docker.getEvents({ since: 1, filters: { container: ['js-told'] } });
    const destroyed = new Promise((resolve, reject) => {
      let seen = '';
      stream.on('data', (part) => {
        seen += part;
        if (seen.includes('"destroy"')) resolve(seen);
      });
      stream.on('error', reject);
    });
    const container = await create('js-told', ['true']);
    await container.start();
    await container.wait();
    await container.remove();
    const actions = (await destroyed).trim().split('\n').map((line) => JSON.parse(line).Action);
    assert.deepStrictEqual(actions, ['create', 'start', 'die', 'destroy']);
    stream.destroy();
  },

  async stats_come_as_a_stream() {
    await withSleeper('js-stats', async (container) => {
      const stream = await container.stats({ stream: true });
      let seen = '';
      await new Promise((resolve, reject) => {
        stream.on('data', (part) => {
          seen += part;
          if (seen.split('\n').length > 2) resolve();
        });
        stream.on('error', reject);
      });
      stream.destroy();
      assert.ok(JSON.parse(seen.split('\n')[1]).memory_stats.usage > 0, seen);
    });
  },

  async save_and_load() {
    await docker.getImage(IMAGE).tag({ repo: 'js-saved', tag: '1' });
    const saved = await collect(await docker.getImage('js-saved:1').get());
    await docker.getImage('js-saved:1').remove();
    const said = (await collect(await docker.loadImage(saved))).toString();
    assert.match(said, /js-saved:1/);
    await docker.getImage('js-saved:1').remove();
  },

  async forty_requests_at_once() {
    const container = await create('js-asked', ['true']);
    const answers = await Promise.all(Array.from({ length: 40 }, () => container.inspect()));
    await container.remove();
    assert.ok(answers.every((answer) => answer.Id === container.id));
  },
});
