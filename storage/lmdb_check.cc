#include "storage/lmdb_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "base/crc32c.h"
#include "storage/kv_store.h"

namespace quorate::storage {
namespace {

constexpr MDB_dbi kFreePages = 0;  // LMDB's own table; its first user table has handle 1
constexpr size_t kMetaPages = 2;
constexpr size_t kPageHeaderBytes = 16;

// How the process that reads ends, besides by a signal.
enum Verdict : int { kSound = 0, kUnreadable, kPairs, kCount, kFreeList, kAccounts, kVerdicts };
constexpr const char* kWords[kVerdicts] = {
    "",
    "it cannot be opened or read",
    "a pair does not match its checksum or is out of order",
    "pairs are missing",
    "its list of free pages is wrong",
    "its pages do not add up",
};

std::string_view View(const MDB_val& v) { return {static_cast<const char*>(v.mv_data), v.mv_size}; }
int Compare(const MDB_val* a, const MDB_val* b) { return CompareKeys(View(*a), View(*b)); }

// Reads a store page by page and pair by pair. Leaks: the process ends afterwards.
class Reader {
 public:
  Verdict Read(const char* directory) {
    if (Open(directory) != 0) return kUnreadable;
    if (const Verdict verdict = ReadPairs(); verdict != kSound) return verdict;
    return ReadFreePages();
  }

 private:
  int Open(const char* directory) {
    if (int error = mdb_env_create(&env_)) return error;
    constexpr unsigned kFlags = MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS;
    if (int error = mdb_env_open(env_, directory, kFlags, 0)) return error;
    if (int error = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn_)) return error;
    if (int error = mdb_dbi_open(txn_, nullptr, 0, &pairs_)) return error;
    if (int error = mdb_set_compare(txn_, pairs_, Compare)) return error;
    if (int error = mdb_env_info(env_, &info_)) return error;
    if (int error = mdb_stat(txn_, pairs_, &stat_)) return error;
    if (info_.me_last_pgno >= info_.me_mapsize / stat_.ms_psize) return MDB_CORRUPTED;
    seen_.resize(info_.me_last_pgno + 1);
    for (size_t page = 0; page < kMetaPages; ++page) seen_[page] = true;
    return 0;
  }

  // The number of the page that holds `byte`, which the page must know as well.
  std::optional<size_t> PageOf(const void* byte) {
    const auto address = reinterpret_cast<uintptr_t>(byte) / stat_.ms_psize * stat_.ms_psize;
    size_t number = 0;
    std::memcpy(&number, reinterpret_cast<const void*>(address), sizeof number);
    if (number >= seen_.size()) return std::nullopt;
    const uintptr_t map = address - number * stat_.ms_psize;
    if (map_ == 0) map_ = map;
    return map == map_ ? std::optional(number) : std::nullopt;
  }

  // False if the page cannot be, or belongs to something else.
  bool Take(size_t page) {
    if (page >= seen_.size() || seen_[page]) return false;
    seen_[page] = true;
    ++taken_;
    return true;
  }

  bool TakePagesOf(const MDB_val& key, const MDB_val& value) {
    const auto leaf = PageOf(key.mv_data);
    if (!leaf || (*leaf != leaf_ && !Take(*leaf))) return false;
    leaf_ = *leaf;
    const auto first = PageOf(value.mv_data);
    if (!first || first == leaf) return first.has_value();
    // A large value has pages of its own, the first with a header.
    const size_t pages = (kPageHeaderBytes + value.mv_size + stat_.ms_psize - 1) / stat_.ms_psize;
    for (size_t i = 0; i < pages; ++i) {
      if (!Take(*first + i)) return false;
    }
    return true;
  }

  Verdict ReadPairs() {
    MDB_cursor* cursor = nullptr;
    if (mdb_cursor_open(txn_, pairs_, &cursor) != 0) return kUnreadable;
    MDB_val key;
    MDB_val value;
    std::string before;
    size_t count = 0;
    int error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; error == 0; error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
      if (!Unseal(View(key), View(value))) return kPairs;
      if (count > 0 && CompareKeys(before, View(key)) >= 0) return kPairs;
      if (!TakePagesOf(key, value)) return kAccounts;
      before.assign(View(key));
      ++count;
    }
    if (error != MDB_NOTFOUND) return kUnreadable;
    return count == stat_.ms_entries ? kSound : kCount;
  }

  // An entry of the table is a number of pages, then that many page numbers.
  Verdict ReadFreePages() {
    MDB_stat table;
    MDB_cursor* cursor = nullptr;
    if (mdb_stat(txn_, kFreePages, &table) != 0) return kUnreadable;
    if (mdb_cursor_open(txn_, kFreePages, &cursor) != 0) return kUnreadable;
    MDB_val key;
    MDB_val value;
    size_t entries = 0;
    int error = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    for (; error == 0; error = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
      std::vector<size_t> numbers(value.mv_size / sizeof(size_t));
      std::memcpy(numbers.data(), value.mv_data, numbers.size() * sizeof(size_t));
      if (numbers.empty() || numbers[0] > numbers.size() - 1) return kFreeList;
      for (size_t i = 1; i <= numbers[0]; ++i) {
        if (!Take(numbers[i])) return kFreeList;
      }
      if (++entries > table.ms_entries) return kFreeList;
    }
    if (error != MDB_NOTFOUND) return kUnreadable;
    const size_t unseen = stat_.ms_branch_pages + table.ms_branch_pages + table.ms_leaf_pages +
                          table.ms_overflow_pages;
    return kMetaPages + taken_ + unseen == seen_.size() ? kSound : kAccounts;
  }

  MDB_env* env_ = nullptr;
  MDB_txn* txn_ = nullptr;
  MDB_dbi pairs_ = 0;
  MDB_envinfo info_{};
  MDB_stat stat_{};
  std::vector<bool> seen_;  // by page number
  size_t taken_ = 0;        // of them, without the meta pages
  size_t leaf_ = 0;
  uintptr_t map_ = 0;  // where the file is in memory
};

[[noreturn]] void ReadAndExit(const char* directory) {
  const rlimit none{0, 0};
  setrlimit(RLIMIT_CORE, &none);
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  ::dup2(null, STDERR_FILENO);
  for (const int number : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL}) signal(number, SIG_DFL);
  _exit(Reader().Read(directory));
}

}  // namespace

void Seal(std::string_view key, std::string_view value, char* out) {
  const uint32_t crc = Crc32c(value, Crc32c(key));
  std::memcpy(out, value.data(), value.size());
  std::memcpy(out + value.size(), &crc, kSealBytes);
}

std::optional<std::string_view> Unseal(std::string_view key, std::string_view stored) {
  if (stored.size() < kSealBytes) return std::nullopt;
  const std::string_view value = stored.substr(0, stored.size() - kSealBytes);
  uint32_t crc = 0;
  std::memcpy(&crc, stored.data() + value.size(), kSealBytes);
  if (crc != Crc32c(value, Crc32c(key))) return std::nullopt;
  return value;
}

Status CheckLmdb(const std::string& directory) {
  struct stat file {};
  if (::stat((directory + "/data.mdb").c_str(), &file) != 0) {
    return errno == ENOENT ? Status::Ok()
                           : IoError(fmt::format("{}: {}", directory, std::strerror(errno)));
  }
  const pid_t child = fork();
  if (child == 0) ReadAndExit(directory.c_str());
  if (child < 0) return IoError(fmt::format("fork: {}", std::strerror(errno)));
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return IoError(fmt::format("waitpid: {}", std::strerror(errno)));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kSound) return Status::Ok();
  const bool named = WIFEXITED(status) && WEXITSTATUS(status) < kVerdicts;
  return Corruption(fmt::format("the store in {} is damaged: {}", directory,
                                named ? kWords[WEXITSTATUS(status)] : "reading it crashes"));
}

}  // namespace quorate::storage
