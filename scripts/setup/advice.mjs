/** From a build log or a dead process to one sentence that helps. */

/** @type {readonly [RegExp, string][]} first match wins */
const buildRemedies = [
  [/No space left on device/i, 'The disk is full: free about 2 GB where the package lies, then run setup again.'],
  [
    /Killed|signal terminated program|out of memory|virtual memory exhausted/i,
    'The compiler ran out of memory: run again with fewer jobs, TIERRA_JOBS=1 npx tierra setup.',
  ],
  [
    /undefined reference to .*(std::__cxx11|GLIBCXX|CXXABI)|undefined reference to .*c10::/i,
    'The compiler and this libtorch disagree about the C++ library: use the system gcc (CXX=/usr/bin/g++), not one from conda.',
  ],
  [
    /No CMAKE_CXX_COMPILER|CMAKE_CXX_COMPILER.*(not set|not found)/i,
    'Install a C++20 compiler: sudo apt-get install -y g++',
  ],
  [
    /fatal error: (cuda\w*|nv\w+)\.h/i,
    'The CUDA headers are incomplete: install the toolkit of the version torch was built for.',
  ],
  [/fatal error: (napi|node_api)\.h/i, 'The headers of node-addon-api are missing: run npm install without --omit.'],
  [
    /(error: ).*(at::|c10::|torch::)/i,
    'This libtorch differs from the ones Tierra is tested with (2.11 to 2.14): try torch 2.13.0.',
  ],
  [
    /Permission denied|EACCES|Read-only file system/i,
    "The package's build/ folder cannot be written: install as the user who owns it.",
  ],
];

/** @param {string} log */
export function buildRemedy(log) {
  return buildRemedies.find(([pattern]) => pattern.test(log))?.[1] ?? 'The whole output is in build/setup.log.';
}

/** The lines of a log that carry the first errors. @param {string} log @param {number} [count] */
export function firstErrors(log, count = 8) {
  const lines = log.split('\n');
  const interesting = /\berror\b|undefined reference|No space left|Killed|Permission denied/i;
  const noise = /^\s*(\[\d+\/\d+\]|ERR! OMG|.*-Werror)/;
  const found = lines.flatMap((line, i) =>
    interesting.test(line) && !noise.test(line)
      ? [/^CMake Error/.test(line) ? `${line} ${lines[i + 1]?.trim() ?? ''}`.trim() : line.trim()]
      : [],
  );
  return [...new Set(found)].slice(0, count);
}

/** @type {readonly [RegExp, string][]} */
const loadRemedies = [
  [
    /GLIBCXX_|CXXABI_/,
    'Node loads an older libstdc++ than the addon was compiled for: leave the conda environment, or build with CXX=/usr/bin/g++.',
  ],
  [
    /libcuda\.so/,
    'The NVIDIA driver is missing here (in Docker: run with --gpus all); a CPU build of torch works without it.',
  ],
  [
    /libcudart|libcublas|libcudnn|libnccl/,
    "CUDA's libraries are not where torch expects them: reinstall torch with its dependencies.",
  ],
  [/static TLS block/, 'Too many libraries were loaded before libtorch: unset LD_PRELOAD.'],
  [/libtorch|libc10/, 'libtorch is not where it was when the addon was built: run `npx tierra setup` again.'],
  [/undefined symbol/, 'The addon was built against another libtorch: remove build/ and run `npx tierra setup`.'],
];

/** For an addon that does not load or dies; `signal` when it took its process down. @param {string} message @param {string | null} signal */
export function loadRemedy(message, signal) {
  const known = loadRemedies.find(([pattern]) => pattern.test(message))?.[1];
  if (known !== undefined) return known;
  if (signal === 'SIGILL')
    return 'This processor lacks instructions that libtorch or the compiler used: build on this machine.';
  if (signal === 'SIGKILL')
    return 'The process was killed, most likely for memory: give the machine or container at least 2 GiB.';
  if (signal !== null)
    return 'Remove build/ and run `npx tierra setup`; if it dies again, try torch 2.13.0 (CPU build).';
  return 'Remove build/ and run `npx tierra setup`.';
}
