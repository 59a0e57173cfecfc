// Mutated: somebody who knows the protocol and keeps none of it, beside clients who do. Calls of
// the public service and requests of the cluster's own stream are made from templates, then fields
// are emptied, blown up, repeated or given to the wrong transaction; requests that others sent are
// sent again, unchanged, at any time and to any node; one id is used for several transactions and
// asked about everywhere.
//
// It must change nothing for others and end nobody. What it writes are deletions of keys that
// nobody else has, since whatever takes effect of them is invisible; an honest counter of its own
// beside it must count right. What it may not do is lie in another's name: nodes trust what a node
// says about a transaction, so a forged outcome of an honest one would be believed.
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <deque>

#include "base/check.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "quorate/v1/node.pb.h"
#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/increments.h"
#include "tests/sim/workloads/thin_client.h"
#include "txn/errors.h"

namespace quorate::sim {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr int kKeys = 12;
constexpr size_t kCapturedMax = 64;  // requests of others, to be sent again
constexpr size_t kIds = 6;           // transactions that it speaks of at a time
constexpr double kFreshId = 0.15;
constexpr int kMutationsMax = 3;
constexpr int kRepeatedMax = 300;
constexpr Duration kPatience = 2s;
// A step that is honest work, so that whoever is alone with this workload still sees answers.
constexpr double kHonest = 0.3;

// Requests of others, as bytes. The network keeps it, and outlives the workload.
struct Captured {
  std::vector<std::string> requests;
  Random random;
};

class Mutated final : public Workload {
 public:
  explicit Mutated(const WorkloadContext& context)
      : Workload(context.world, "mutated"),
        random_(context.world.Fork("mutated")),
        increments_("mutated", 3),
        captured_(std::make_shared<Captured>(Captured{{}, random_.Fork("captured")})) {
    for (size_t i = 0; i < kIds; ++i) ids_.push_back(TxnId::Make(random_));
  }

  Task<void> Step(Hands* hands) override {
    Listen(hands);
    if (random_.Chance(kHonest)) {
      co_await HonestIncrement(hands);
      co_return;
    }
    if (random_.Chance(kFreshId)) ids_[random_.Below(kIds)] = TxnId::Make(random_);
    switch (random_.Below(5)) {
      case 0:
        co_await CallPublic(hands);
        break;
      case 1:
        co_await OneIdTwice(hands);
        break;
      case 2:
        co_await SendAgain(hands);
        break;
      default:
        co_await SendRequest(hands);
    }
  }

  Task<Status> Audit(Hands* hands) override {
    co_return co_await increments_.Audit(hands->database);
  }
  std::vector<std::string> Violations() const override {
    std::vector<std::string> found = violations_;
    for (std::string& text : increments_.Violations()) found.push_back(std::move(text));
    return found;
  }

 private:
  // ---- the honest part

  Task<void> HonestIncrement(Hands* hands) {
    const auto increment = increments_.Add(static_cast<int>(random_.Below(increments_.counters())));
    ++increment->unknown;
    const auto result = co_await hands->database->TransactAsync(
        [increment](client::Transaction& txn) { return AddOne(&txn, increment); }, {});
    const auto outcome = Count(result.status);
    if (outcome != history::Outcome::kUnknown) --increment->unknown;
    if (outcome == history::Outcome::kOk) increment->acknowledged = true;
  }
  static Task<Status> AddOne(client::Transaction* txn, std::shared_ptr<Increment> increment) {
    const auto value = co_await txn->Get(increment->key);
    if (!value.ok()) co_return value.status();
    CO_RETURN_IF_ERROR(txn->Put(increment->key, std::to_string(ToInt(*value) + 1)));
    co_return txn->Put(increment->row, "done");
  }

  // ---- values

  std::string OwnKey() {
    return SpreadKey("mutated", static_cast<int>(random_.Below(kKeys)), kKeys) + "!";
  }
  std::string AnyId() { return std::string(ids_[random_.Below(kIds)].bytes()); }

  // Keys of others are not among them: with what is written here being deletions, that would be
  // vandalism, which no door can tell from work.
  std::string AnyBytes() {
    switch (random_.Below(9)) {
      case 0:
        return {};
      case 1:
        return std::string(1, '\0');
      case 2:
        return OwnKey() + std::string(limits::kKeyBytesMax - OwnKey().size(), 'x');
      case 3:
        return OwnKey() + std::string(limits::kKeyBytesMax + 1 - OwnKey().size(), 'x');
      case 4:
        return OwnKey() + std::string(600, 'm');
      case 5:
        return OwnKey() + std::string(70'000, 'l');
      case 6:
        return AnyId();
      case 7:
        return std::string(40, '\xff');
      default:
        return OwnKey();
    }
  }

  uint64_t AnyNumber() {
    switch (random_.Below(6)) {
      case 0:
        return 0;
      case 1:
        return 1;
      case 2:
        return ~uint64_t{0};
      case 3:
        return random_.Next();
      case 4:
        return seen_ts_ + (uint64_t{1} << random_.Below(40));
      default:
        return seen_ts_ - std::min(seen_ts_, uint64_t{1} << random_.Below(40));
    }
  }
  uint64_t RecentTimestamp() { return random_.Chance(0.8) ? seen_ts_ : AnyNumber(); }

  // ---- what goes wrong with a message

  // One field, of the message or of one within it, is cleared, changed or repeated.
  void Mutate(Message* message) {
    const auto* descriptor = message->GetDescriptor();
    if (descriptor->field_count() == 0) return;
    const Reflection* reflection = message->GetReflection();
    std::vector<const FieldDescriptor*> set;
    reflection->ListFields(*message, &set);
    const bool present = !set.empty() && random_.Chance(0.8);
    const FieldDescriptor* field =
        present ? set[random_.Below(set.size())]
                : descriptor->field(static_cast<int>(random_.Below(descriptor->field_count())));
    if (random_.Chance(0.15)) {
      reflection->ClearField(message, field);
      return;
    }
    if (field->is_repeated()) {
      Repeat(message, field);
      return;
    }
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Mutate(reflection->MutableMessage(message, field));
        return;
      case FieldDescriptor::CPPTYPE_STRING:
        reflection->SetString(message, field,
                              field->type() == FieldDescriptor::TYPE_STRING
                                  ? std::string(random_.Below(3000), 's')
                                  : AnyBytes());
        return;
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection->SetUInt64(message, field, AnyNumber());
        return;
      case FieldDescriptor::CPPTYPE_UINT32:
        reflection->SetUInt32(message, field, static_cast<uint32_t>(AnyNumber()));
        return;
      case FieldDescriptor::CPPTYPE_BOOL:
        reflection->SetBool(message, field, random_.Chance(0.5));
        return;
      case FieldDescriptor::CPPTYPE_ENUM:
        reflection->SetEnumValue(message, field, static_cast<int>(random_.Below(40)));
        return;
      default:
        return;
    }
  }

  void Repeat(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    const int size = reflection->FieldSize(*message, field);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field->is_map()) return;
      if (size > 0 && random_.Chance(0.5)) {
        Mutate(reflection->MutableRepeatedMessage(message, field,
                                                  static_cast<int>(random_.Below(size))));
        return;
      }
      const int more = random_.Chance(0.2) ? static_cast<int>(random_.Below(kRepeatedMax)) : 1;
      for (int i = 0; i < more; ++i) {
        Message* added = reflection->AddMessage(message, field);
        if (size > 0) added->CopyFrom(reflection->GetRepeatedMessage(*message, field, 0));
      }
      if (size > 1) reflection->SwapElements(message, field, 0, size - 1);
      return;
    }
    if (field->type() == FieldDescriptor::TYPE_BYTES) {
      const int more = random_.Chance(0.2) ? static_cast<int>(random_.Below(kRepeatedMax)) : 1;
      for (int i = 0; i < more; ++i) reflection->AddString(message, field, AnyBytes());
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      reflection->AddUInt64(message, field, AnyNumber());
    }
  }

  // Whatever is written is a deletion.
  static void Disarm(Message* message) {
    if (message->GetDescriptor() == v1::Write::descriptor()) {
      static_cast<v1::Write*>(message)->set_deletion(true);
      return;
    }
    const Reflection* reflection = message->GetReflection();
    std::vector<const FieldDescriptor*> set;
    reflection->ListFields(*message, &set);
    for (const FieldDescriptor* field : set) {
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
      if (!field->is_repeated()) {
        Disarm(reflection->MutableMessage(message, field));
        continue;
      }
      for (int i = 0; i < reflection->FieldSize(*message, field); ++i) {
        Disarm(reflection->MutableRepeatedMessage(message, field, i));
      }
    }
  }

  template <class M>
  M Mangled(M message) {
    const auto mutations = random_.Below(kMutationsMax + 1);
    for (uint64_t i = 0; i < mutations; ++i) Mutate(&message);
    Disarm(&message);
    return message;
  }

  // ---- the public service

  const std::string& AnyNode(Hands* hands) {
    return (*hands->nodes)[random_.Below(hands->nodes->size())];
  }

  template <class Response, class Request>
  Task<std::optional<Response>> Public(Hands* hands, std::string method, Request request) {
    auto answer = co_await hands->thin->Call<Request, Response>(AnyNode(hands), std::move(method),
                                                                std::move(request), kPatience);
    if (!answer.ok()) co_return std::nullopt;
    co_return std::move(*answer);
  }

  v1::ExecuteRequest AnExecute() {
    v1::ExecuteRequest request;
    request.set_timeout_ms(1000);
    if (random_.Chance(0.7)) request.set_txn_id(AnyId());
    for (uint64_t i = random_.Below(4) + 1; i > 0; --i) {
      v1::Operation* operation = request.add_operations();
      switch (random_.Below(3)) {
        case 0:
          operation->set_get(OwnKey());
          break;
        case 1:
          operation->mutable_put()->set_key(OwnKey());
          break;
        default:
          operation->mutable_scan()->set_from(OwnKey());
          operation->mutable_scan()->set_limit(static_cast<uint32_t>(random_.Below(20)));
      }
    }
    if (random_.Chance(0.3)) {
      request.add_conditions()->set_key(OwnKey());
      request.mutable_conditions(0)->set_absent(random_.Chance(0.9));
    }
    return request;
  }

  v1::TxnRef AReference() {
    v1::TxnRef txn;
    txn.set_txn_id(AnyId());
    txn.set_start_ts(RecentTimestamp());
    txn.set_anchor_key(OwnKey());
    return txn;
  }

  Task<void> CallPublic(Hands* hands) {
    switch (random_.Below(8)) {
      case 0:
      case 1: {
        const auto answer =
            co_await Public<v1::ExecuteResponse>(hands, "Execute", Mangled(AnExecute()));
        if (answer && answer->error().code() == v1::OK) Saw(answer->read_ts());
        break;
      }
      case 2: {
        const auto answer =
            co_await Public<v1::BeginResponse>(hands, "Begin", Mangled(v1::BeginRequest()));
        if (answer && answer->error().code() == v1::OK) session_ = answer->session_id();
        break;
      }
      case 3: {
        v1::SessionReadRequest request;
        request.set_session_id(session_);
        request.add_keys(OwnKey());
        request.set_for_update(random_.Chance(0.3));
        (void)co_await Public<v1::SessionReadResponse>(hands, "Read", Mangled(request));
        break;
      }
      case 4: {
        v1::SessionScanRequest request;
        request.set_session_id(session_);
        request.set_from(OwnKey());
        request.set_to(OwnKey());
        request.set_limit(static_cast<uint32_t>(random_.Below(50)));
        (void)co_await Public<v1::SessionScanResponse>(hands, "Scan", Mangled(request));
        break;
      }
      case 5: {
        v1::SessionWriteRequest request;
        request.set_session_id(session_);
        request.add_writes()->set_key(OwnKey());
        (void)co_await Public<v1::SessionWriteResponse>(hands, "Write", Mangled(request));
        break;
      }
      case 6: {
        v1::SessionCommitRequest request;
        request.set_session_id(session_);
        if (random_.Chance(0.5)) {
          (void)co_await Public<v1::SessionCommitResponse>(hands, "Commit", Mangled(request));
        } else {
          v1::SessionRollbackRequest rollback;
          rollback.set_session_id(session_);
          (void)co_await Public<v1::SessionRollbackResponse>(hands, "Rollback", Mangled(rollback));
        }
        break;
      }
      default: {
        v1::GetOutcomeRequest request;
        *request.mutable_txn() = AReference();
        request.set_timeout_ms(1000);
        (void)co_await Public<v1::GetOutcomeResponse>(hands, "GetOutcome", Mangled(request));
      }
    }
  }

  // Two transactions of one id, and questions about it at either's keys.
  Task<void> OneIdTwice(Hands* hands) {
    const std::string id = AnyId();
    for (int i = 0; i < 2; ++i) {
      v1::ExecuteRequest request;
      request.set_txn_id(id);
      request.set_timeout_ms(1000);
      for (uint64_t puts = random_.Below(3) + 1; puts > 0; --puts) {
        v1::Write* write = request.add_operations()->mutable_put();
        write->set_key(OwnKey());
        write->set_deletion(true);
      }
      const auto answer = co_await Public<v1::ExecuteResponse>(hands, "Execute", request);
      if (answer && answer->error().code() == v1::OK) Saw(answer->commit_ts());
    }
    for (int i = 0; i < 2; ++i) {
      v1::GetOutcomeRequest ask;
      *ask.mutable_txn() = AReference();
      ask.mutable_txn()->set_txn_id(id);
      ask.set_timeout_ms(1000);
      (void)co_await Public<v1::GetOutcomeResponse>(hands, "GetOutcome", ask);
    }
  }

  // ---- the cluster's own stream

  void Route(v1::ShardRoute* route) {
    route->set_shard_id(random_.Below(12));
    route->set_version(random_.Chance(0.9) ? 1 : AnyNumber());
  }
  template <class M>
  void AddWrites(M* message) {
    std::vector<std::string> keys;
    for (uint64_t i = random_.Below(3) + 1; i > 0; --i) keys.push_back(OwnKey());
    if (random_.Chance(0.9)) {
      std::sort(keys.begin(), keys.end());
      keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    }
    for (std::string& key : keys) message->add_writes()->set_key(std::move(key));
  }
  void FillPriority(v1::Priority* priority, const std::string& id, uint64_t start_ts) {
    priority->set_start_ts(start_ts);
    priority->set_txn_id(id);
  }

  v1::NodeRequest ARequest() {
    v1::NodeRequest request;
    request.set_timeout_ms(1000);
    const std::string id = AnyId();
    const uint64_t start_ts = RecentTimestamp();
    switch (random_.Below(12)) {
      case 0: {
        v1::ReadRequest* read = request.mutable_read();
        Route(read->mutable_route());
        read->set_read_ts(RecentTimestamp());
        if (random_.Chance(0.3)) {
          if (random_.Chance(0.5)) read->clear_read_ts();
          read->mutable_stale()->set_max_age_ms(static_cast<uint32_t>(random_.Below(70'000)));
          read->mutable_stale()->set_not_before(RecentTimestamp());
        }
        read->add_keys(OwnKey());
        v1::ScanSpan* scan = read->add_scans();
        scan->mutable_span()->set_from(OwnKey());
        scan->set_limit(static_cast<uint32_t>(random_.Below(20)));
        scan->set_reverse(random_.Chance(0.5));
        break;
      }
      case 1: {
        v1::LockRequest* lock = request.mutable_lock();
        Route(lock->mutable_route());
        lock->set_txn_id(id);
        FillPriority(lock->mutable_priority(), id, start_ts);
        lock->add_keys(OwnKey());
        lock->set_ttl_ms(500);
        break;
      }
      case 2:
      case 3: {
        v1::CommitRequest* commit = request.mutable_commit();
        Route(commit->mutable_route());
        commit->set_txn_id(id);
        commit->set_start_ts(start_ts);
        FillPriority(commit->mutable_priority(), id, start_ts);
        AddWrites(commit);
        commit->set_anchor_key(random_.Chance(0.8) ? commit->writes(0).key() : OwnKey());
        break;
      }
      case 4:
      case 5: {
        v1::PrepareRequest* prepare = request.mutable_prepare();
        Route(prepare->mutable_route());
        prepare->set_txn_id(id);
        prepare->set_digest(random_.Below(3) + 1);
        prepare->set_start_ts(start_ts);
        prepare->set_min_ts(RecentTimestamp());
        FillPriority(prepare->mutable_priority(), id, start_ts);
        AddWrites(prepare);
        prepare->set_marker_key(prepare->writes(0).key());
        prepare->set_anchor_key(OwnKey());
        if (random_.Chance(0.5)) {
          v1::KeySpan* guard = prepare->add_guards();
          guard->set_from(OwnKey());
          guard->set_to(guard->from() + std::string(1, '\0'));
        }
        break;
      }
      case 6: {
        v1::ResolveRequest* resolve = request.mutable_resolve();
        Route(resolve->mutable_route());
        Resolve(resolve->add_resolutions());
        break;
      }
      case 7: {
        v1::EarlyOutcomeRequest* early = request.mutable_early_outcome();
        Route(early->mutable_route());
        Resolve(early->add_resolutions());
        break;
      }
      case 8: {
        v1::QueryPrepareRequest* query = request.mutable_query_prepare();
        Route(query->mutable_route());
        query->set_txn_id(id);
        query->set_digest(random_.Below(3) + 1);
        query->set_marker_key(OwnKey());
        query->set_start_ts(start_ts);
        break;
      }
      case 9:
        *request.mutable_push()->mutable_txn() = AReference();
        break;
      case 10:
        request.mutable_slot();
        break;
      default:
        Member(&request);
    }
    return request;
  }

  void Resolve(v1::Resolution* resolution) {
    resolution->set_txn_id(AnyId());
    resolution->set_digest(random_.Below(3) + 1);
    resolution->set_marker_key(OwnKey());
    resolution->set_outcome(random_.Chance(0.5) ? v1::COMMITTED : v1::ABORTED_STATE);
    resolution->set_commit_ts(RecentTimestamp());
    resolution->set_start_ts(RecentTimestamp());
  }

  // What nodes and operators say; of no node that exists.
  void Member(v1::NodeRequest* request) {
    switch (random_.Below(6)) {
      case 0:
        request->mutable_routes()->set_from(OwnKey());
        break;
      case 1:
        request->mutable_hello();
        break;
      case 2:
        request->mutable_init()->set_shards(static_cast<uint32_t>(random_.Below(100)));
        break;
      case 3: {
        v1::BootstrapRequest* bootstrap = request->mutable_bootstrap();
        bootstrap->set_cluster_id("another");
        bootstrap->set_node_id(random_.Below(5));
        bootstrap->add_shards()->set_shard_id(random_.Below(5));
        break;
      }
      case 4: {
        v1::HeartbeatRequest* heartbeat = request->mutable_heartbeat();
        heartbeat->mutable_node()->set_node_id(1'000'000);
        heartbeat->mutable_node()->set_address("nowhere:1");
        break;
      }
      default:
        request->mutable_status();
    }
  }

  Task<void> SendRequest(Hands* hands) {
    v1::NodeRequest request = Mangled(ARequest());
    // Its node id is the one thing of a heartbeat that is left alone: one in another's name is
    // believed.
    if (request.has_heartbeat())
      request.mutable_heartbeat()->mutable_node()->set_node_id(1'000'000);
    if (request.has_register_node()) request.clear_body();
    const auto answer = co_await CallNode(hands, std::move(request));
    if (answer.ok() && answer->has_slot()) Saw(answer->slot().slot());
  }

  // Of anybody, unchanged: copies do no harm, however late.
  Task<void> SendAgain(Hands* hands) {
    if (captured_->requests.empty()) co_return;
    v1::NodeRequest request;
    CHECK(request.ParseFromString(captured_->requests[random_.Below(captured_->requests.size())]),
          "a captured request does not parse");
    (void)co_await CallNode(hands, std::move(request));
  }

  Task<Result<v1::NodeResponse>> CallNode(Hands* hands, v1::NodeRequest request) {
    if (cluster_id_.empty()) {
      v1::NodeRequest hello;
      hello.mutable_hello();
      const auto answer =
          co_await hands->thin->CallNode(AnyNode(hands), "", std::move(hello), kPatience);
      if (!answer.ok()) co_return answer.status();
      cluster_id_ = answer->hello().cluster_id();
    }
    co_return co_await hands->thin->CallNode(AnyNode(hands), cluster_id_, std::move(request),
                                             kPatience);
  }

  void Listen(Hands* hands) {
    if (listening_) return;
    listening_ = true;
    hands->thin->network().AddTap([captured = captured_](const std::string&, const std::string&,
                                                         const v1::NodeRequest& request) {
      switch (request.body_case()) {
        case v1::NodeRequest::kRead:
        case v1::NodeRequest::kLock:
        case v1::NodeRequest::kCommit:
        case v1::NodeRequest::kPrepare:
        case v1::NodeRequest::kResolve:
        case v1::NodeRequest::kEarlyOutcome:
        case v1::NodeRequest::kQueryPrepare:
        case v1::NodeRequest::kPush:
          break;
        default:
          return Duration(0);
      }
      // Seldom replaced, so that some are sent again when they are too old.
      if (captured->requests.size() < kCapturedMax) {
        captured->requests.push_back(request.SerializeAsString());
      } else if (captured->random.Chance(0.05)) {
        captured->requests[captured->random.Below(kCapturedMax)] = request.SerializeAsString();
      }
      return Duration(0);
    });
  }

  void Saw(uint64_t ts) { seen_ts_ = std::max(seen_ts_, ts); }

  Random random_;
  Increments increments_;
  std::vector<TxnId> ids_;
  std::shared_ptr<Captured> captured_;
  bool listening_ = false;
  uint64_t seen_ts_ = 1;
  uint64_t session_ = 1;
  std::string cluster_id_;
};

}  // namespace

std::unique_ptr<Workload> MakeMutated(const WorkloadContext& context) {
  return std::make_unique<Mutated>(context);
}

}  // namespace quorate::sim
