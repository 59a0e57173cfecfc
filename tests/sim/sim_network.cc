#include "tests/sim/sim_network.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"

namespace quorate::sim {

namespace {

constexpr Duration kLateMax = 2min;
constexpr Duration kReorderMax = 20ms;
constexpr char kForeignCluster[] = "ffffffffffffffffffffffffffffffff";

bool Applies(const LinkRule& rule, const std::string& from, const std::string& to) {
  return (rule.from.empty() || rule.from == from) && (rule.to.empty() || rule.to == to);
}

void AddUp(const LinkRule& rule, LinkRule* sum) {
  sum->block |= rule.block;
  sum->block_peers |= rule.block_peers;
  sum->refuse_calls |= rule.refuse_calls;
  sum->hold |= rule.hold;
  sum->half_open |= rule.half_open;
  sum->delay += rule.delay;
  if (rule.bytes_per_second != 0 &&
      (sum->bytes_per_second == 0 || rule.bytes_per_second < sum->bytes_per_second)) {
    sum->bytes_per_second = rule.bytes_per_second;
  }
  sum->tail_max = std::max(sum->tail_max, rule.tail_max);
  for (double LinkRule::*p :
       {&LinkRule::loss, &LinkRule::duplicate_soon, &LinkRule::duplicate_late, &LinkRule::reorder,
        &LinkRule::tail, &LinkRule::reset_call, &LinkRule::reset_message, &LinkRule::refuse_request,
        &LinkRule::bit_flip, &LinkRule::truncate, &LinkRule::oversize, &LinkRule::flip_chunk,
        &LinkRule::stray_garbage, &LinkRule::stray_cluster, &LinkRule::stray_node}) {
    sum->*p = std::max(sum->*p, rule.*p);
  }
}

// No draw for what cannot happen, so that most messages cost one.
bool Chance(Random& random, double probability) {
  return probability > 0 && random.Chance(probability);
}

std::string RefusedAtTheDoor(Random& random) {
  v1::NodeResponse response;
  StatusToError(random.Chance(0.5) ? Status(Code::kOverloaded, "no room for one more request")
                                   : Internal("it failed before it looked at the request"),
                response.mutable_error());
  return response.SerializeAsString();
}

}  // namespace

SimNetwork::SimNetwork(World& world, NetworkOptions options)
    : world_(world), options_(options), random_(world.network_random()) {}

// ---- processes ----------------------------------------------------------------------------------

void SimNetwork::Listen(const std::string& address, Process& process, Serve serve) {
  ++endpoints_version_;
  Endpoint& endpoint = endpoints_[address];
  endpoint.process = &process;
  endpoint.incarnation = ++last_incarnation_;
  endpoint.serve = std::move(serve);
}

void SimNetwork::Close(const std::string& address, Ending ending) {
  ++endpoints_version_;
  endpoints_.erase(address);
  if (ending == Ending::kSilent) return;
  for (auto& [other, endpoint] : endpoints_) {
    const LinkRule& rule = LinkOf(address, other).rule;
    if (!rule.block && !rule.half_open) BreakConnection(address, other);
  }
}

uint64_t SimNetwork::CallsOf(const std::string& address) const {
  const auto it = endpoints_.find(address);
  return it == endpoints_.end() ? 0 : it->second.calls;
}

// What `to` has under way with `from` ends, a little later.
void SimNetwork::BreakConnection(const std::string& from, const std::string& to) {
  const auto it = endpoints_.find(to);
  if (it == endpoints_.end() || (!it->second.reset && it->second.pending.empty())) return;
  world_.At(Latency(LinkOf(from, to).rule), [this, from, to, incarnation = it->second.incarnation] {
    const auto it = endpoints_.find(to);
    if (it == endpoints_.end() || it->second.incarnation != incarnation) return;
    if (it->second.reset) it->second.reset(from);
    for (const auto& [id, call] : it->second.pending) {
      if (call.to == from) call.answer.Set(Unavailable(from + ": connection broke"));
    }
  });
}

// ---- rules --------------------------------------------------------------------------------------

SimNetwork::RuleId SimNetwork::AddRule(LinkRule rule) {
  ++rules_version_;
  rules_.emplace(++last_rule_, std::move(rule));
  return last_rule_;
}

void SimNetwork::RemoveRule(RuleId id) {
  ++rules_version_;
  rules_.erase(id);
  // What was held back goes out at once, in order, unless another rule holds it.
  for (const auto& link : all_links_) {
    if (link->held.empty() || Refreshed(*link).hold) continue;
    for (Closure& arrive : std::exchange(link->held, {})) world_.At(1us, std::move(arrive));
  }
}

SimNetwork::TapId SimNetwork::AddTap(Tap tap) {
  taps_.emplace(++last_tap_, std::move(tap));
  return last_tap_;
}

Duration SimNetwork::Tapped(const std::string& from, const std::string& to,
                            const Request& request) {
  if (taps_.empty() || !request.method.empty()) return Duration(0);
  v1::NodeRequest parsed;
  CHECK(parsed.ParseFromString(request.bytes), "a request does not parse");
  Duration later(0);
  // A tap may remove itself.
  for (auto it = taps_.begin(); it != taps_.end();) {
    const Tap tap = (it++)->second;
    later += tap(from, to, parsed);
  }
  return later;
}

const LinkRule& SimNetwork::Refreshed(Link& link) {
  if (link.version == rules_version_) return link.rule;
  link.version = rules_version_;
  link.rule = {};
  for (const auto& [id, rule] : rules_) {
    if (Applies(rule, link.from, link.to)) AddUp(rule, &link.rule);
  }
  return link.rule;
}

SimNetwork::Link& SimNetwork::LinkOf(const std::string& from, const std::string& to) {
  std::string name;
  name.reserve(from.size() + to.size() + 1);
  name.append(from).append(">").append(to);
  Link*& link = links_[name];
  if (link == nullptr) {
    all_links_.push_back(std::make_unique<Link>());
    link = all_links_.back().get();
    link->from = from;
    link->to = to;
  }
  Refreshed(*link);
  return *link;
}

SimNetwork::Link& SimNetwork::BackOf(Link& link) {
  if (link.back == nullptr) link.back = &LinkOf(link.to, link.from);
  Refreshed(*link.back);
  return *link.back;
}

SimNetwork::Endpoint* SimNetwork::TargetOf(Link& link) {
  if (link.target_version != endpoints_version_) {
    link.target_version = endpoints_version_;
    const auto it = endpoints_.find(link.to);
    link.target = it == endpoints_.end() ? nullptr : &it->second;
  }
  return link.target;
}

Duration SimNetwork::Latency(const LinkRule& rule) {
  Duration latency(random_.Between(options_.latency_min.count(), options_.latency_max.count()));
  if (Chance(random_, rule.tail)) latency += Duration(random_.Below(rule.tail_max.count() + 1));
  if (Chance(random_, rule.reorder)) latency += Duration(random_.Below(kReorderMax.count()));
  return latency + rule.delay;
}

// Messages of a narrow link wait for those before them.
Duration SimNetwork::Queueing(Link& link, size_t bytes) {
  if (link.rule.bytes_per_second == 0) return Duration(0);
  const Duration takes(static_cast<int64_t>(bytes) * 1'000'000'000 /
                       static_cast<int64_t>(link.rule.bytes_per_second));
  link.busy_until = std::max(link.busy_until, world_.now()) + takes;
  return link.busy_until - world_.now();
}

// ---- transfer -----------------------------------------------------------------------------------

void SimNetwork::Arrive(Link& link, uint64_t incarnation, Duration delay, Deliver deliver) {
  world_.At(delay, [this, &link, incarnation, deliver = std::move(deliver)]() mutable {
    const LinkRule& rule = Refreshed(link);
    if (rule.block) return;
    if (rule.hold) {
      link.held.push_back([this, &link, incarnation, deliver = std::move(deliver)] {
        Endpoint* target = TargetOf(link);
        if (target != nullptr && target->incarnation == incarnation) deliver(*target);
      });
      return;
    }
    Endpoint* target = TargetOf(link);
    if (target != nullptr && target->incarnation == incarnation) deliver(*target);
  });
}

SimNetwork::Sent SimNetwork::Transfer(Link& link, size_t bytes, Deliver deliver, Duration later) {
  const LinkRule& rule = link.rule;
  const Endpoint* target = TargetOf(link);
  if (target == nullptr) {
    return rule.block || rule.hold || rule.half_open ? Sent::kUnderWay : Sent::kRefused;
  }
  if (rule.block || Chance(random_, rule.loss)) return Sent::kUnderWay;
  if (Chance(random_, rule.reset_message)) {
    BreakConnection(link.from, link.to);
    return Sent::kBroken;
  }
  const uint64_t incarnation = target->incarnation;
  if (Chance(random_, rule.duplicate_soon)) {
    Arrive(link, incarnation, 3 * Latency(rule), deliver);
  }
  if (Chance(random_, rule.duplicate_late)) {
    Arrive(link, incarnation, Duration(random_.Below(kLateMax.count())), deliver);
  }
  Arrive(link, incarnation, later + Latency(rule) + Queueing(link, bytes), std::move(deliver));
  return Sent::kUnderWay;
}

// ---- damaged and foreign frames -----------------------------------------------------------------

bool SimNetwork::MaybeDamage(const LinkRule& rule, const std::string& bytes, std::string* damaged) {
  if (bytes.empty()) return false;
  if (Chance(random_, rule.bit_flip)) {
    *damaged = bytes;
    (*damaged)[random_.Below(bytes.size())] ^= static_cast<char>(1 << random_.Below(8));
    return true;
  }
  if (Chance(random_, rule.truncate)) {
    *damaged = bytes.substr(0, random_.Below(bytes.size()));
    return true;
  }
  if (Chance(random_, rule.oversize)) {
    damaged->clear();  // gRPC refuses it by its length: nobody sees a byte
    return true;
  }
  return false;
}

void SimNetwork::Refused(const std::string& to, bool refused, std::string_view what) {
  if (!refused) violations_.push_back(fmt::format("{} accepted {}", to, what));
}

namespace {

// Whether a request that concerns data was carried out.
bool Served(const v1::NodeResponse& response) {
  if (response.error().code() != v1::OK) return false;
  return (response.has_read() && response.read().error().code() == v1::OK) ||
         (response.has_commit() && response.commit().error().code() == v1::OK) ||
         (response.has_prepare() && response.prepare().error().code() == v1::OK) ||
         (response.has_resolve() && response.resolve().error().code() == v1::OK);
}

}  // namespace

// A request of another cluster's client. Nobody waits for the answer, but it must be a refusal.
void SimNetwork::SendStrayRequest(const std::string& to, const LinkRule& rule,
                                  const Request& request) {
  if (!request.method.empty() || request.cluster_id.empty()) return;
  if (!Chance(random_, rule.stray_cluster)) return;
  Request stray = request;
  stray.cluster_id = kForeignCluster;
  const auto endpoint = endpoints_.find(to);
  if (endpoint == endpoints_.end()) return;
  Arrive(LinkOf("", to), endpoint->second.incarnation, Latency(rule),
         [this, stray, to](Endpoint& e) {
           if (!e.serve) return;
           e.process->Post([this, serve = e.serve, stray, to] {
             serve(stray, [this, to](const std::string& answer) {
               v1::NodeResponse response;
               CHECK(response.ParseFromString(answer), "a response does not parse");
               Refused(to, !Served(response), "a request for another cluster");
             });
           });
         });
}

// ---- calls --------------------------------------------------------------------------------------

namespace {

// What one call leaves behind when its frame goes, answered or not.
class CallGuard {
 public:
  CallGuard(Process* process, std::function<void()> forget)
      : process_(process), forget_(std::move(forget)) {}
  CallGuard(const CallGuard&) = delete;
  ~CallGuard() {
    *alive_ = false;
    for (const TimerId timer : timers_) process_->Cancel(timer);
    forget_();
  }
  void After(Duration delay, Closure fn) {
    timers_.push_back(process_->After(delay, std::move(fn)));
  }
  std::shared_ptr<bool> alive() const { return alive_; }

 private:
  Process* process_;
  std::function<void()> forget_;
  std::vector<TimerId> timers_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace

Task<Result<std::string>> SimNetwork::Exchange(Process* process, std::string from, std::string to,
                                               Request request) {
  const uint64_t call = ++calls_;
  Link& link = LinkOf(from, to);
  Promise<Result<std::string>> answer(*process);
  CallGuard guard(process, [this, &link, call] {
    Endpoint* caller = TargetOf(BackOf(link));
    if (caller != nullptr) caller->pending.erase(call);
  });
  Endpoint* caller = TargetOf(BackOf(link));
  if (caller == nullptr) co_return co_await answer.future();  // dead, and does not know
  ++caller->calls;
  caller->pending.emplace(call, PendingCall{to, answer});
  world_.Trace(Crc32c(request.bytes), request.bytes.size());
  const LinkRule& rule = link.rule;
  SendStrayRequest(to, rule, request);
  guard.After(request.timeout,
              [answer, to] { answer.Set(DeadlineExceeded(to + ": no answer in time")); });

  if (rule.refuse_calls) {
    guard.After(Latency(rule),
                [answer, to] { answer.Set(Unavailable(to + ": the connection was closed")); });
    co_return co_await answer.future();
  }
  const size_t size = request.bytes.size();
  if (std::string damaged; MaybeDamage(rule, request.bytes, &damaged)) {
    v1::NodeRequest decoded;
    (void)decoded.ParseFromString(damaged);
    guard.After(Latency(rule),
                [answer, to] { answer.Set(Unavailable(to + ": connection broke")); });
    co_return co_await answer.future();
  }
  const Duration later = Tapped(from, to, request);
  const Duration early = Chance(random_, rule.reset_call) ? Latency(rule) : Duration(0);
  // A call of the public service is a stream of a connection: it arrives once or not at all.
  const auto arrived = request.method.empty() ? nullptr : std::make_shared<bool>(false);
  const Sent sent = Transfer(
      link, size,
      [this, &link, request = std::make_shared<Request>(std::move(request)), answer,
       alive = guard.alive(), arrived](Endpoint& endpoint) mutable {
        if (!endpoint.serve || (arrived && std::exchange(*arrived, true))) return;
        // Each copy by itself: the next one may be looked at.
        if (!arrived && Chance(random_, link.rule.refuse_request)) {
          return Answer(BackOf(link), RefusedAtTheDoor(random_), answer, alive);
        }
        endpoint.process->Post([this, &link, serve = endpoint.serve, request = std::move(request),
                                answer, alive]() mutable {
          serve(TakeOrCopy(std::move(request)), [this, &link, answer, alive](std::string response) {
            Answer(BackOf(link), std::move(response), answer, alive);
          });
        });
      },
      later);
  if (sent == Sent::kRefused) {
    guard.After(1ms, [answer, to] { answer.Set(Unavailable(to + ": connection refused")); });
  } else if (sent == Sent::kBroken || early.count() > 0) {
    guard.After(std::max(early, Duration(1ms)),
                [answer, to] { answer.Set(Unavailable(to + ": connection reset")); });
  }
  co_return co_await answer.future();
}

// Runs on the server, perhaps when the caller is gone; the way back has the same faults.
void SimNetwork::Answer(Link& back, std::string response, Promise<Result<std::string>> answer,
                        std::shared_ptr<bool> alive) {
  const size_t size = response.size();
  if (std::string damaged; MaybeDamage(back.rule, response, &damaged)) {
    v1::NodeResponse decoded;
    (void)decoded.ParseFromString(damaged);
    BreakConnection(back.from, back.to);
    return;
  }
  Transfer(back, size,
           [answer, alive, response = std::make_shared<std::string>(std::move(response))](
               Endpoint& endpoint) mutable {
             endpoint.process->Post([answer, alive, response = std::move(response)]() mutable {
               if (*alive) answer.Set(TakeOrCopy(std::move(response)));
             });
           });
}

class SimChannel final : public client::Channel {
 public:
  SimChannel(SimNetwork& network, Process& process, std::string address)
      : network_(network), process_(process), address_(std::move(address)) {}

  void SetClusterId(const std::string& cluster_id) override { cluster_id_ = cluster_id; }

  Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                      Duration timeout) override {
    request.set_timeout_ms(static_cast<uint32_t>(std::max<int64_t>(1, ToMillis(timeout))));
    const auto response = co_await network_.Exchange(
        &process_, address_, std::move(address),
        {cluster_id_, /*method=*/"", request.SerializeAsString(), timeout});
    if (!response.ok()) co_return response.status();
    v1::NodeResponse parsed;
    CHECK(parsed.ParseFromString(*response), "a response does not parse");
    co_return parsed;
  }

 private:
  SimNetwork& network_;
  Process& process_;
  std::string address_;
  std::string cluster_id_;
};

std::unique_ptr<client::Channel> SimNetwork::MakeChannel(Process& process,
                                                         const std::string& address) {
  return std::make_unique<SimChannel>(*this, process, address);
}

}  // namespace quorate::sim
