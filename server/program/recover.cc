#include "server/program/recover.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <utility>

#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/status_macros.h"
#include "base/stderr_logger.h"
#include "raft/host/host.h"
#include "raft/host/survivor.h"
#include "storage/incarnation_file.h"
#include "storage/lmdb_store.h"
#include "storage/node_identity.h"
#include "storage/ordered_store.h"
#include "storage/posix_file.h"
#include "storage/wal.h"

namespace quorate::server {
namespace {

// The host is never started: it only reads what is there.
class NoTransport final : public raft::Transport {
 public:
  void SetReceiver(raft::TransportReceiver*) override {}
  void SetIdentity(const std::string&, NodeId, const storage::Incarnation&) override {}
  void SetAddress(NodeId, const std::string&) override {}
  void Send(NodeId, raft::GroupMessage) override {}
  void SendAlive(NodeId, raft::Alive) override {}
  void SendChunk(NodeId, raft::SnapshotChunk) override {}
  void SendAck(NodeId, raft::SnapshotAck) override {}
};

RecoveredGroup ToldOf(const raft::Survivor& survivor) {
  using Fate = raft::Survivor::Fate;
  RecoveredGroup out;
  out.group = survivor.group;
  const raft::Configuration& members = survivor.members;
  std::set<NodeId> voters(members.voters.begin(), members.voters.end());
  voters.insert(members.voters_outgoing.begin(), members.voters_outgoing.end());
  out.members.assign(voters.begin(), voters.end());
  out.last_term = survivor.last_term.value();
  out.last_index = survivor.last.value();
  out.committed_index = survivor.committed.value();
  out.fate = survivor.fate == Fate::kAlone   ? RecoveredGroup::Fate::kAlone
             : survivor.fate == Fate::kStuck ? RecoveredGroup::Fate::kStuck
                                             : RecoveredGroup::Fate::kUntouched;
  out.why = survivor.why;
  return out;
}

class Recoverer {
 public:
  explicit Recoverer(std::string path) : path_(std::move(path)) {}

  Result<Recovery> Run(const std::set<NodeId>& lost, bool dry_run) {
    RETURN_IF_ERROR(Open());
    Recovery out;
    out.node = directory_->identity().node_id;
    if (lost.contains(out.node)) {
      return InvalidArgument(
          fmt::format("--lost names node {}, whose directory this is; name the others", out.node));
    }
    raft::Host::Options options;
    options.self = out.node;
    raft::Host host(env_, options, *wal_, *store_, transport_);
    std::vector<raft::Survivor> survivors = host.Survivors(lost);
    for (const raft::Survivor& survivor : survivors) out.groups.push_back(ToldOf(survivor));
    if (!dry_run) RETURN_IF_ERROR(Write(&survivors));
    return out;
  }

 private:
  Status Open() {
    std::error_code error;
    if (!std::filesystem::exists(path_ + "/IDENTITY", error)) {
      return InvalidArgument(
          fmt::format("'{}' is no node's data directory; name the one of a node's --data", path_));
    }
    ASSIGN_OR_RETURN(directory_, storage::DataDirectory::Open(env_, files_, path_));
    if (directory_->identity().cluster_id.empty()) {
      return Status(Code::kFailedPrecondition,
                    fmt::format("'{}' belongs to no cluster: there is nothing to recover", path_));
    }
    ASSIGN_OR_RETURN(const auto incarnations, storage::IncarnationFile::Open(env_, files_, path_));
    ASSIGN_OR_RETURN(wal_, storage::Wal::Open(env_, files_,
                                              {.directory = path_ + "/wal",
                                               .expected = true,
                                               .doubted = incarnations->doubted()}));
    storage::LmdbStore::Options options;
    options.directory = path_ + "/store";
    ASSIGN_OR_RETURN(kv_, storage::LmdbStore::Open(env_, std::move(options)));
    store_ = std::make_unique<storage::OrderedStore>(env_, *kv_, storage::OrderedStore::Options());
    return Status::Ok();
  }

  // All groups' records in few syncs; the log keeps their order.
  Status Write(std::vector<raft::Survivor>* groups) {
    std::optional<Status> written;
    const auto end = [&](Status status) {
      if (!written) written = std::move(status);
      executor_.Stop();
    };
    size_t left = 0;
    for (const raft::Survivor& group : *groups) left += group.records.size();
    if (left == 0) return Status::Ok();
    wal_->OnFailure(end);
    executor_.Post([&] {
      for (raft::Survivor& group : *groups) {
        for (storage::WalRecord& record : group.records) {
          wal_->Append(std::move(record), [&] {
            if (--left == 0) end(Status::Ok());
          });
        }
      }
    });
    executor_.Run();
    return *written;
  }

  const std::string path_;
  RealClock clock_;
  Random random_{EntropySeed()};
  StderrLogger log_{LogLevel::kWarn};
  Metrics metrics_;
  RealExecutor executor_;
  Env env_{executor_, clock_, random_, log_, metrics_};
  storage::PosixFileSystem files_{executor_};
  NoTransport transport_;
  std::unique_ptr<storage::DataDirectory> directory_;
  std::unique_ptr<storage::Wal> wal_;
  std::unique_ptr<storage::LmdbStore> kv_;
  std::unique_ptr<storage::OrderedStore> store_;
};

}  // namespace

Result<Recovery> RecoverDirectory(const std::string& path, const std::set<NodeId>& lost,
                                  bool dry_run) {
  return Recoverer(path).Run(lost, dry_run);
}

}  // namespace quorate::server
