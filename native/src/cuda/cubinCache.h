// Compiled kernels on disk, so that a process compiles none that an earlier one did.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tierra::cuda {

/// `$XDG_CACHE_HOME/tierra/kernels`, or the same under `~/.cache`; empty where there is no home.
std::string cacheFolder();

/// The machine code kept under `key`, if its file is whole. A damaged file counts as none.
std::optional<std::vector<char>> readCubin(const std::string& key);

/// Keeps it, by writing beside and renaming. A cache that cannot be written is no failure: the next process compiles again.
void keepCubin(const std::string& key, const std::vector<char>& code);

}  // namespace tierra::cuda
