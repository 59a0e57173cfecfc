#include "storage/low_space.h"

#include <algorithm>

#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"

namespace quorate::storage {
namespace {

constexpr uint64_t kReserveBytesMin = 1 << 20;

std::string PathIn(const std::string& directory) { return directory + "/" + kReserveFile; }

}  // namespace

uint64_t LowSpace::Watermark(uint64_t total_bytes, uint64_t min_free_bytes) {
  return std::max(total_bytes / 50, min_free_bytes);
}

uint64_t LowSpace::ReserveBytes(uint64_t min_free_bytes) {
  return std::clamp(min_free_bytes / 4, kReserveBytesMin, limits::kDiskReserveBytesMax);
}

bool RemoveReserve(FileSystem& files, const std::string& directory) {
  const Result<bool> exists = files.Exists(PathIn(directory));
  if (!exists.ok() || !*exists || MUTANT("space-reserve-kept")) return false;
  // Some file systems hand freed blocks out only once the removal is durable.
  return files.Remove(PathIn(directory)).ok() && files.SyncDirectory(directory).ok();
}

LowSpace::LowSpace(Env& env, FileSystem& files, Options options)
    : env_(env),
      files_(files),
      options_(std::move(options)),
      reserve_wanted_(options_.reserve_bytes != 0 ? options_.reserve_bytes
                                                  : ReserveBytes(options_.min_free_bytes)),
      reserve_path_(PathIn(options_.directory)),
      free_gauge_(env.metrics.GetGauge("quorate_disk_free_bytes", "free bytes under --data")),
      low_gauge_(env.metrics.GetGauge("quorate_disk_low",
                                      "1: below the watermark, 2: nothing more is written")),
      reserve_gauge_(env.metrics.GetGauge("quorate_disk_reserve_bytes",
                                          "bytes that are given up when the disk is full")) {
  // One that a crash left half made counts as none.
  if (const auto file = files_.Open(reserve_path_, OpenMode::kMustExist); file.ok()) {
    const Result<uint64_t> size = (*file)->Size();
    if (size.ok() && *size >= reserve_wanted_) reserve_ = *size;
  }
  Look();
  Arm();
}

LowSpace::~LowSpace() { env_.executor.Cancel(timer_); }

void LowSpace::Arm() {
  // Space that comes back is noticed soon by who waits for it.
  timer_ = env_.executor.After(full_ ? options_.interval / 4 : options_.interval, [this] {
    Look();
    Arm();
  });
}

void LowSpace::Look() {
  const auto read = [this](uint64_t* total) {
    const Result<uint64_t> free = files_.FreeBytes(options_.directory);
    const Result<uint64_t> size = files_.TotalBytes(options_.directory);
    if (!free.ok() || !size.ok()) return false;
    free_ = *free;
    *total = *size;
    return true;
  };
  uint64_t total = 0;
  if (!read(&total)) return;
  const uint64_t watermark = Watermark(total, options_.min_free_bytes);
  const bool starved = options_.starved && options_.starved();
  if (reserve_ != 0 && (starved || free_ < reserve_wanted_ / 2)) {
    GiveUpReserve();
    if (!read(&total)) return;
  } else if (reserve_ == 0 && !starved && free_ >= watermark + watermark / 10 + reserve_wanted_) {
    MakeReserve();
    if (!read(&total)) return;
  }
  Judge(total);
  free_gauge_.Set(static_cast<int64_t>(free_));
  low_gauge_.Set(full_ ? 2 : low_ ? 1 : 0);
  reserve_gauge_.Set(static_cast<int64_t>(reserve_));
  if (on_look_) on_look_();
}

void LowSpace::Judge(uint64_t total) {
  total_ = total;
  const uint64_t watermark = Watermark(total, options_.min_free_bytes);
  const uint64_t owed = options_.owed ? options_.owed() : 0;
  const bool starved = options_.starved && options_.starved();
  const bool low = starved || free_ < owed + (low_ ? watermark + watermark / 10 : watermark);
  if (low && !low_) {
    PROBE("storage: low space");
    env_.log.Warn("disk: {} bytes free under {}, below {} and {} still to be written: low", free_,
                  options_.directory, watermark, owed);
  } else if (!low && low_) {
    env_.log.Info("disk: {} bytes free under {}: enough again", free_, options_.directory);
  }
  low_ = low;
  const bool full = starved || (reserve_ == 0 && free_ < reserve_wanted_ / 8);
  if (full && !full_) {
    PROBE("storage: disk full");
    env_.log.Error("disk: {} bytes free under {}: nothing is written until there is space", free_,
                   options_.directory);
  } else if (!full && full_) {
    env_.log.Info("disk: {} bytes free under {}: written again", free_, options_.directory);
  }
  full_ = full;
}

void LowSpace::MakeReserve() {
  const auto made = [this]() -> Status {
    ASSIGN_OR_RETURN(const auto file, files_.Open(reserve_path_, OpenMode::kCreate));
    return file->Allocate(reserve_wanted_);
  };
  const Status status = made();
  if (status.ok()) {
    reserve_ = reserve_wanted_;
    return;
  }
  env_.log.Warn("disk: no reserve: {}", status.ToString());
  (void)RemoveReserve(files_, options_.directory);
}

void LowSpace::GiveUpReserve() {
  if (reserve_ == 0 || !RemoveReserve(files_, options_.directory)) return;
  PROBE("storage: disk reserve given up");
  env_.log.Warn("disk: {} bytes free under {}: the reserve of {} bytes is given up", free_,
                options_.directory, reserve_);
  reserve_ = 0;
}

}  // namespace quorate::storage
